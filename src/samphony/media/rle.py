"""COCO run-length codes of masks that lie in a window of a large picture: the picture itself is never made.

``media.masks`` encodes and decodes whole masks; this module is for pictures of which a whole mask would be hundreds of
megabytes. Runs go column by column. Nothing loops over pixels.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from samphony.errors import PromptError
from samphony.media.masks import BoolArray, Rle

IntArray = npt.NDArray[np.int64]


def window_runs(mask: BoolArray, offset: tuple[int, int], height: int) -> IntArray:
    """Runs of set pixels of a window, (R,2) as first and one past last position in the picture's column-major order.

    Args:
        mask: (a,b), the window.
        offset: x and y of its first pixel in the picture.
        height: of the picture.
    """
    columns = np.zeros((mask.shape[1], mask.shape[0] + 2), np.int8)  # an unset pixel before and after each column
    columns[:, 1:-1] = mask.T
    change = np.diff(columns, axis=1)
    x, first = np.nonzero(change == 1)
    _, last = np.nonzero(change == -1)
    base = (x + offset[0]) * height + offset[1]
    return np.stack((base + first, base + last), axis=1)


def join_runs(parts: Iterable[IntArray]) -> IntArray:
    """Runs that follow one another, as one list in which runs that touch are one run."""
    runs = np.concatenate([np.empty((0, 2), np.int64), *parts])
    if len(runs) == 0:
        return runs
    new = np.concatenate([[True], runs[1:, 0] > runs[:-1, 1]])
    last = np.concatenate([np.flatnonzero(new)[1:] - 1, [len(runs) - 1]])
    return np.stack((runs[new, 0], runs[last, 1]), axis=1)


def runs_to_counts(runs: IntArray, size: tuple[int, int]) -> list[int]:
    """Joined runs as COCO's plain counts for a picture (H,W)."""
    total = size[0] * size[1]
    if len(runs) and (runs[0, 0] < 0 or runs[-1, 1] > total):
        raise PromptError(f"runs end at {runs[-1, 1]}, beyond the {total} pixels of a picture {size}")
    bounds = np.concatenate([[0], runs.ravel(), [total]])
    counts: list[int] = np.diff(bounds).tolist()
    return counts if counts[-1] or len(counts) == 1 else counts[:-1]


def compress_counts(counts: list[int], size: tuple[int, int]) -> Rle:
    """Plain counts as COCO's compressed string."""
    code = coco.frPyObjects({"counts": counts, "size": list(size)}, *size)
    return {"size": [int(side) for side in size], "counts": code["counts"].decode("ascii")}
