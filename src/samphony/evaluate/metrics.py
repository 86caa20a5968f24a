"""Region and contour measures: IoU (J) and boundary F, as the public DAVIS evaluation defines them.

Source: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation" (2016).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]

BOUND = 0.008
"""Tolerance of the contour measure, as a share of the picture's diagonal."""


def jaccard(mask: Mask, truth: Mask, void: Mask | None = None) -> float:
    """Intersection over union; 1 when both are empty. ``void`` pixels do not count."""
    if void is not None:
        mask, truth = mask & ~void, truth & ~void
    union = np.count_nonzero(mask | truth)
    return 1.0 if union == 0 else float(np.count_nonzero(mask & truth) / union)


def boundary_f(mask: Mask, truth: Mask, void: Mask | None = None, bound: float = BOUND) -> float:
    """Harmonic mean of precision and recall of contours, within a disc of ``bound`` of the diagonal.

    Empty contours: both empty count as 1 and 1; one empty gives 0.
    """
    if void is not None:
        mask, truth = mask & ~void, truth & ~void
    radius = bound if bound >= 1 else math.ceil(bound * math.hypot(*mask.shape))
    a, b = contour(mask), contour(truth)
    size_a, size_b = np.count_nonzero(a), np.count_nonzero(b)
    if size_a == 0 or size_b == 0:
        return 1.0 if size_a == size_b else 0.0
    window = _window(a | b)  # distances need no more than the contours: small objects are measured fast
    a, b = a[window], b[window]
    precision = np.count_nonzero(a & _near(b, radius)) / size_a
    recall = np.count_nonzero(b & _near(a, radius)) / size_b
    return 0.0 if precision + recall == 0 else float(2 * precision * recall / (precision + recall))


def contour(mask: Mask) -> Mask:
    """Pixels that differ from their neighbour to the right, below, or right below; one pixel wide."""
    m = mask.astype(bool)
    edge = np.zeros_like(m)
    edge[:, :-1] |= m[:, :-1] ^ m[:, 1:]
    edge[:-1, :] |= m[:-1, :] ^ m[1:, :]
    edge[:-1, :-1] |= m[:-1, :-1] ^ m[1:, 1:]
    return edge


def _window(mask: Mask) -> tuple[slice, slice]:
    """The smallest rows and columns that hold every True."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _near(edge: Mask, radius: float) -> Mask:
    """Pixels within ``radius`` of an edge pixel."""
    return np.asarray(ndimage.distance_transform_edt(~edge) <= radius)
