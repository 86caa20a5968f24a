"""Standing in for the official package: after ``samphony.install_as_sam2()`` scripts that import ``sam2`` run here."""

from __future__ import annotations

from samphony.compat.install import install_as_sam2

__all__ = ["install_as_sam2"]
