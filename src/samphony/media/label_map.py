"""Label maps: one number a pixel, 0 for none; as a PNG and as colours over the photo."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from samphony.errors import PromptError
from samphony.media.overlay import UInt8Array, distinct_colours
from samphony.media.photo import save_photo

LabelArray = npt.NDArray[np.unsignedinteger[Any]]
ROWS_AT_A_TIME = 256


def save_label_map(path: str | os.PathLike[str], labels: LabelArray) -> Path:
    """Write labels (H, W) as a grey picture: 8 bits a pixel, 16 when there are more than 255; not above 65,535."""
    largest = int(labels.max(initial=0))
    if largest > 65535:
        raise PromptError(f"labels reach {largest}; a picture holds at most 65535")
    return save_photo(path, labels.astype(np.uint8 if largest <= 255 else np.uint16))


def draw_label_map(photo: UInt8Array, labels: LabelArray, opacity: float = 0.5) -> UInt8Array:
    """Tint each label over the photo (H, W, 3) in a colour of its own, borders in the full colour.

    Works row by row, so that no more than the result is in memory.
    """
    if photo.shape[:2] != labels.shape:
        raise PromptError(f"labels must have the photo's size {photo.shape[:2]}, got {labels.shape}")
    colours = np.concatenate((np.zeros((1, 3), np.uint8), distinct_colours(int(labels.max(initial=0)))))
    drawn = np.array(photo)
    for top in range(0, len(labels), ROWS_AT_A_TIME):
        rows = labels[top : top + ROWS_AT_A_TIME + 1]  # one more, to see the borders below
        part = rows[:ROWS_AT_A_TIME]
        edge = np.zeros(part.shape, bool)
        edge[:, :-1] |= part[:, :-1] != part[:, 1:]
        below = rows[1:]
        edge[: len(below)] |= part[: len(below)] != below
        colour = colours[part].astype(np.float32)
        weight = np.where(edge, 1.0, opacity)[..., None] * (part > 0)[..., None]
        target = drawn[top : top + ROWS_AT_A_TIME]
        target[...] = np.rint(target * (1 - weight) + colour * weight).astype(np.uint8)
    return drawn
