"""Overlapping crops of a picture, and which boxes a crop has cut through.

Boxes are XYXY in pixels; a crop's end is exclusive. Source: the behaviour of the official generator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

EDGE_TOLERANCE = 20.0
"""Pixels: a box this near to an inner edge of its crop is taken to be cut off there."""


@dataclass(frozen=True)
class Crop:
    """A part of the picture: ``layer`` 0 is the whole, layer i has 2^i × 2^i crops."""

    box: tuple[int, int, int, int]
    layer: int

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width."""
        x0, y0, x1, y1 = self.box
        return y1 - y0, x1 - x0

    @property
    def area(self) -> int:
        """Pixels."""
        return self.hw[0] * self.hw[1]

    def cut(self, pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """The crop of a picture (H,W,…), as a view."""
        x0, y0, x1, y1 = self.box
        return pixels[y0:y1, x0:x1]


def make_crops(hw: tuple[int, int], n_layers: int, overlap_ratio: float) -> list[Crop]:
    """The whole picture and the crops of each layer, column by column.

    Args:
        hw: size of the picture.
        n_layers: layers of crops beside the whole picture.
        overlap_ratio: overlap of neighbours in layer 1, as a share of the picture's short side; halved in each layer.
    """
    height, width = hw
    crops = [Crop((0, 0, width, height), 0)]
    for layer in range(1, n_layers + 1):
        per_side = 2**layer
        overlap = int(overlap_ratio * min(hw) * (2 / per_side))
        w, h = _side(width, per_side, overlap), _side(height, per_side, overlap)
        for i in range(per_side):
            for j in range(per_side):
                x, y = (w - overlap) * i, (h - overlap) * j
                if x < width and y < height:  # sides are rounded up: in a tiny picture the last one may lie outside
                    crops.append(Crop((x, y, min(x + w, width), min(y + h, height)), layer))
    return crops


def _side(length: int, per_side: int, overlap: int) -> int:
    return math.ceil((overlap * (per_side - 1) + length) / per_side)


def cut_off(boxes: npt.NDArray[np.integer], crop: Crop, hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Which boxes (N,4), in pixels of the picture, end near an edge of the crop that is no edge of the picture."""
    near_crop = np.abs(boxes - np.array(crop.box)) <= EDGE_TOLERANCE
    near_picture = np.abs(boxes - np.array([0, 0, hw[1], hw[0]])) <= EDGE_TOLERANCE
    return np.asarray((near_crop & ~near_picture).any(axis=1))
