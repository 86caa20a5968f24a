"""Boolean masks: run-length codes, connected components, boxes, mask files.

Masks are numpy bool arrays ``(H, W)`` or ``(N, H, W)``; boxes are XYXY in pixels; run-length codes are
COCO's: column by column, starting with a run of zeros, ``size`` = ``[H, W]``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco
from scipy import ndimage

from samphony.errors import PromptError
from samphony.media.photo import load_photo, save_photo

BoolArray = npt.NDArray[np.bool_]


class Rle(TypedDict):
    """A run-length code as in COCO JSON: ``counts`` is a compressed string or the plain list of runs."""

    size: list[int]
    counts: str | list[int]


def encode_rle(mask: BoolArray) -> Rle:
    """(H, W) bool -> compressed run-length code, ready for JSON."""
    code = coco.encode(np.asfortranarray(_checked(mask), dtype=np.uint8))
    return {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode("ascii")}


def encode_rle_uncompressed(mask: BoolArray) -> Rle:
    """(H, W) bool -> plain list of runs, the first one of zeros (0 when the first pixel is set)."""
    flat = _checked(mask).ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = np.concatenate([[0], changes, [flat.size]])
    runs: list[int] = np.diff(bounds).tolist()
    if flat.size and flat[0]:
        runs = [0, *runs]
    return {"size": [int(side) for side in mask.shape], "counts": runs}


def decode_rle(rle: Rle) -> BoolArray:
    """Run-length code of either kind -> (H, W) bool.

    Raises:
        PromptError: the runs do not fill the size.
    """
    height, width = rle["size"]
    counts = rle["counts"]
    if isinstance(counts, str):
        code = {"size": [height, width], "counts": counts.encode("ascii")}
        return np.asarray(coco.decode(code), bool)
    if sum(counts) != height * width or min(counts, default=0) < 0:
        raise PromptError(f"rle: runs sum to {sum(counts)}, but {height} × {width} is {height * width}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape((height, width), order="F")


def mask_boxes(masks: BoolArray) -> npt.NDArray[np.int64]:
    """(…, H, W) bool -> (…, 4) XYXY: smallest and largest set pixel index, both inside.

    Empty masks give 0, 0, 0, 0. The convention is the official one: a single set pixel has x0 = x1.
    """
    masks = np.asarray(masks, bool)
    columns = np.asarray(masks.any(axis=-2))  # (…, W)
    rows = np.asarray(masks.any(axis=-1))  # (…, H)
    filled = np.asarray(columns.any(axis=-1))
    x0, y0 = columns.argmax(axis=-1), rows.argmax(axis=-1)
    x1 = columns.shape[-1] - 1 - columns[..., ::-1].argmax(axis=-1)
    y1 = rows.shape[-1] - 1 - rows[..., ::-1].argmax(axis=-1)
    return np.where(filled[..., None], np.stack([x0, y0, x1, y1], axis=-1), 0)


def label_components(mask: BoolArray) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """(H, W) bool -> labels (H, W), 0 where not set, and the area of each label (areas[0] = unset pixels).

    Pixels that touch at a corner are connected (8-connectivity), as in the official CUDA extension.
    """
    labels, count = ndimage.label(_checked(mask), structure=np.ones((3, 3), np.int8))
    return labels, np.bincount(labels.ravel(), minlength=count + 1)


def small_components(masks: BoolArray, max_area: float) -> BoolArray:
    """(…, H, W) bool -> the part of each mask in components of at most ``max_area`` pixels.

    ``small_components(mask, n)`` are sprinkles, ``small_components(~mask, n)`` holes.
    """
    masks = np.asarray(masks, bool)
    flat = masks.reshape(-1, *masks.shape[-2:])
    found = np.zeros_like(flat)
    for mask, out in zip(flat, found, strict=True):
        if not mask.any():
            continue
        labels, areas = label_components(mask)
        small = areas <= max_area
        small[0] = False
        np.take(small, labels, out=out)
    return found.reshape(masks.shape)


def clean_masks(masks: BoolArray, *, max_hole_area: float = 0, max_sprinkle_area: float = 0) -> BoolArray:
    """(…, H, W) bool -> copy without holes, then without sprinkles, of at most so many pixels."""
    cleaned = np.array(masks, bool)
    if max_hole_area > 0:
        cleaned |= small_components(~cleaned, max_hole_area)
    if max_sprinkle_area > 0:
        cleaned &= ~small_components(cleaned, max_sprinkle_area)
    return cleaned


def load_mask(path: str | os.PathLike[str]) -> BoolArray:
    """Read a mask picture as (H, W) bool: every pixel that is not black is set.

    Raises:
        MediaError: the file cannot be read.
    """
    return np.asarray(load_photo(path).any(axis=2))


def save_mask(path: str | os.PathLike[str], mask: BoolArray) -> Path:
    """Write (H, W) bool as a picture, 255 where set; the suffix should name a lossless format such as PNG."""
    return save_photo(path, np.where(_checked(mask), np.uint8(255), np.uint8(0)))


def _checked(mask: BoolArray) -> BoolArray:
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype != bool:
        raise PromptError(f"mask must be (H, W) bool, got {mask.shape} of {mask.dtype}")
    return mask
