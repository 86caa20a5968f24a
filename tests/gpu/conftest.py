"""Runs on a GPU train in the small world of the other training tests."""

from __future__ import annotations

from tests.train.conftest import cache, recipe

__all__ = ["cache", "recipe"]
