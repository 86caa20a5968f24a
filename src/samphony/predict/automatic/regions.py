"""Small holes and islands of a mask, in pixels of the picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from samphony.media.masks import BoolArray, label_components


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
    areas[0] = 0
    large = areas >= min_area
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
