"""Masks on their way through the filters, as columns; each mask still a piece of low-resolution logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LogitPatch:
    """The part of a logit map that a mask lives in, with a margin of one; the rest lies below the threshold.

    values: (a,b) float32. origin: row and column of values[0,0]. size: (h,w) of the map. threshold: the mask's.
    """

    values: FloatArray
    origin: tuple[int, int]
    size: tuple[int, int]
    threshold: float

    @classmethod
    def cut(cls, logits: FloatArray, threshold: float) -> LogitPatch:
        """From the whole map (h,w)."""
        above = logits > threshold
        rows, cols = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
        if len(rows) == 0:
            return cls(np.empty((0, 0), np.float32), (0, 0), logits.shape, threshold)
        top, left = max(rows[0] - 1, 0), max(cols[0] - 1, 0)
        values = logits[top : rows[-1] + 2, left : cols[-1] + 2]
        return cls(values.copy(), (int(top), int(left)), logits.shape, threshold)

    def restore(self) -> Tensor:
        """The map (h,w); below the threshold where it was not kept."""
        logits = torch.full(self.size, self.threshold - 1.0)
        (top, left), (a, b) = self.origin, self.values.shape
        logits[top : top + a, left : left + b] = torch.from_numpy(self.values)
        return logits


@dataclass(frozen=True)
class Proposals:
    """N masks of a picture or crop.

    boxes: (N,4) int64 XYXY, first and last set pixel. ious, stability: (N) float32. points: (N,2) float32, the click
    that made each. patches: their logits. crops: (N) index of the crop each lies in.
    """

    boxes: npt.NDArray[np.int64]
    ious: FloatArray
    stability: FloatArray
    points: FloatArray
    patches: tuple[LogitPatch, ...]
    crops: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.patches)

    def select(self, index: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Proposals:
        """Some of them, by index in that order or by boolean."""
        rows = np.flatnonzero(index) if index.dtype == bool else index
        return Proposals(
            self.boxes[rows],
            self.ious[rows],
            self.stability[rows],
            self.points[rows],
            tuple(self.patches[i] for i in rows),
            self.crops[rows],
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Proposals]) -> Proposals:
        """All of them, in order."""
        if not parts:
            none, points = np.empty(0, np.float32), np.empty((0, 2), np.float32)
            return cls(np.empty((0, 4), np.int64), none, none, points, (), np.empty(0, np.int64))
        return cls(
            np.concatenate([p.boxes for p in parts]),
            np.concatenate([p.ious for p in parts]),
            np.concatenate([p.stability for p in parts]),
            np.concatenate([p.points for p in parts]),
            tuple(patch for p in parts for patch in p.patches),
            np.concatenate([p.crops for p in parts]),
        )
