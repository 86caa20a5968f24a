"""Small holes and islands of a mask, in pixels of the picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from samphony.media.masks import BoolArray, label_components

SHOWN_MIN_AREA = 0.002
"""Share of a photo below which specks and holes of a mask that is shown are taken for slips.

In the nano's masks of 242 objects of its validation split a quarter of the specks up to this size and half of the holes
were right; without them boundary F rises by 0.012 after a click on salient objects and instances, IoU hardly moves."""
_OF_MASK = 0.05
"""Share of the mask itself that they must not exceed: small objects may be made of small pieces."""


def tidy_mask(mask: BoolArray, min_area: float, points: npt.ArrayLike = (), labels: npt.ArrayLike = ()) -> BoolArray:
    """A mask as it is shown: without specks and holes that are small in the photo and in the mask.

    The largest island stays, and so do an island with a positive click and a hole with a negative one.

    Args:
        mask: (H,W) bool.
        min_area: the least area of islands and holes, as a share of the photo; 0 leaves the mask as it is.
        points: (K,2) clicks x y in pixels of the mask.
        labels: (K,), 1 on the object, 0 beside it; others do not count.
    """
    tidied = remove_small_regions(mask, min(min_area * mask.size, _OF_MASK * np.count_nonzero(mask)))
    height, width = mask.shape
    for (x, y), label in zip(np.reshape(points, (-1, 2)), np.ravel(labels), strict=True):
        row, column = min(max(int(y), 0), height - 1), min(max(int(x), 0), width - 1)
        if label in (0, 1) and mask[row, column] == label and tidied[row, column] != label:
            components, _ = label_components(mask if label else ~mask)
            tidied = np.where(components == components[row, column], mask, tidied)
    return tidied


def remove_small_regions(mask: BoolArray, min_area: float) -> BoolArray:
    """Fill holes, then remove islands, of fewer than ``min_area`` pixels; the largest island always stays.

    Pixels that touch at a corner are connected. Work is confined to the mask's box where that changes nothing.

    Args:
        mask: (H,W) bool.
        min_area: in pixels.

    Returns:
        the same array where there was nothing to do, else a new one.
    """
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return mask
    window = _window(rows, cols, mask.shape, min_area)
    part = mask[window]
    filled = part | _small(~part, min_area, _touching_inner_edge(window, mask.shape))
    labels, areas = label_components(filled)
    large = areas >= min_area
    areas[0], large[0] = 0, False
    if not large.any():
        large[areas.argmax()] = True
    cleaned = large[labels]
    if np.array_equal(cleaned, part):
        return mask
    out = np.zeros(mask.shape[::-1], bool).T  # column-major, as the run-length code wants it
    out[window] = cleaned
    return out


def _window(
    rows: npt.NDArray[np.intp], cols: npt.NDArray[np.intp], shape: tuple[int, ...], min_area: float
) -> tuple[slice, slice]:
    """The box and a margin of one; all of the picture where the background beside the box might count as a hole."""
    height, width = shape
    top, bottom, left, right = rows[0], height - 1 - rows[-1], cols[0], width - 1 - cols[-1]
    outside = (top * width, bottom * width, left * height, right * height)
    if any(0 < area < min_area for area in outside):
        return slice(0, height), slice(0, width)
    return (
        slice(max(int(rows[0]) - 1, 0), min(int(rows[-1]) + 2, height)),
        slice(max(int(cols[0]) - 1, 0), min(int(cols[-1]) + 2, width)),
    )


def _touching_inner_edge(window: tuple[slice, slice], shape: tuple[int, ...]) -> BoolArray:
    """Pixels of the window beyond whose edge the picture goes on: (a,b) bool."""
    edge = np.zeros((window[0].stop - window[0].start, window[1].stop - window[1].start), bool)
    edge[0] |= window[0].start > 0
    edge[-1] |= window[0].stop < shape[0]
    edge[:, 0] |= window[1].start > 0
    edge[:, -1] |= window[1].stop < shape[1]
    return edge


def _small(region: BoolArray, min_area: float, goes_on: BoolArray) -> BoolArray:
    """The components of fewer than ``min_area`` pixels, but for those that go on outside."""
    labels, areas = label_components(region)
    small = areas < min_area
    small[0] = False
    small[labels[goes_on & region]] = False
    return np.asarray(small[labels])
