"""Non-maximum suppression on boxes, as torchvision orders and rounds it, without torchvision."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def non_maximum_suppression(
    boxes: npt.NDArray[np.generic], scores: npt.NDArray[np.floating], iou_threshold: float
) -> npt.NDArray[np.int64]:
    """Keep a box unless a kept box of higher score overlaps it by more than ``iou_threshold``.

    Args:
        boxes: (N,4) XYXY; areas are (x1-x0)·(y1-y0), so that a box of no area overlaps nothing.
        scores: (N). Of equal scores the earlier box goes first.
        iou_threshold: intersection over union; equal is not more.

    Returns:
        indices of the kept boxes by descending score.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    x0, y0, x1, y1 = np.asarray(boxes, np.float32)[order].T
    areas = (x1 - x0) * (y1 - y0)
    left = np.arange(len(order))  # not yet decided, best first
    kept = []
    with np.errstate(invalid="ignore", divide="ignore"):
        while len(left):
            best, left = left[0], left[1:]
            kept.append(best)
            width = np.minimum(x1[best], x1[left]) - np.maximum(x0[best], x0[left])
            height = np.minimum(y1[best], y1[left]) - np.maximum(y0[best], y0[left])
            inter = np.maximum(width, 0) * np.maximum(height, 0)
            iou = inter / (areas[best] + areas[left] - inter)  # float32, compared as double; 0/0 overlaps nothing
            left = left[~(iou.astype(np.float64) > iou_threshold)]
    return order[np.array(kept, np.int64)]
