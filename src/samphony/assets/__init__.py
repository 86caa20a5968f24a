"""Sample media that ship with the package; README.md beside this file names their sources and licences."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent

SAMPLE_PHOTO = _FOLDER / "cat.jpg"
"""A cat (CC0), 451 × 300."""

SAMPLE_POINT = (130.0, 190.0)
"""A click (x, y) on the cat of ``SAMPLE_PHOTO``, in pixels."""

SAMPLE_VIDEO = _FOLDER / "bunny.mp4"
"""Three seconds of Big Buck Bunny (CC BY 3.0, Blender Foundation), 640 × 360, 75 frames."""

SAMPLE_VIDEO_BOX = (120.0, 92.0, 286.0, 282.0)
"""A box x0, y0, x1, y1 around the rabbit on the first frame of ``SAMPLE_VIDEO``, in pixels."""

SAMPLE_VIDEO_BACKGROUND = (72.0, 228.0)
"""A point (x, y) on the stones beside it, which are as grey as the rabbit."""

SAMPLE_VIDEO_CORRECTIONS = (
    (25, ((95.0, 200.0, 0), (200.0, 150.0, 1))),
    (36, ((128.0, 140.0, 0), (132.0, 190.0, 0))),
    (60, ((128.0, 195.0, 0),)),
)
"""Later frames, and clicks (x, y, label) on them: not the stones that come to light nor the cave, but the rabbit."""
