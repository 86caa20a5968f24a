"""Sample media that ship with the package; README.md beside this file names their sources and licences."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent

SAMPLE_PHOTO = _FOLDER / "cat.jpg"
"""A cat (CC0), 451 × 300."""

SAMPLE_POINT = (130.0, 190.0)
"""A click (x, y) on the cat of ``SAMPLE_PHOTO``, in pixels."""
