"""What low-resolution logits say at full size, without making the full size.

Bilinear enlargement of (h,w) logits to (H,W) divides the picture into h·w cells; every pixel of a cell is a mean of the
cell's four corners. Where all four lie on one side of a threshold, so does the whole cell, however many pixels it has.
Only the cells that a mask's outline passes through need their pixels computed, by the very arithmetic of
``F.interpolate``: counts, boxes and masks come out the same as at full size, at a fraction of the work and memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

PIXELS_PER_PASS = 1 << 18
"""Outline pixels computed at a time: bounds the work buffers to a few MiB."""
ROUNDING = 1e-6
"""A mean of four numbers may leave their range by this share of them; cells so near to a threshold are computed."""


@dataclass(frozen=True)
class Axis:
    """One direction of the enlargement, by cells.

    start: first full-size index of each cell, (n) int64. count: how many it has, (n) int64.
    weight: of the far corner at each of them, (n, largest count) float32, NaN beyond ``count``.
    """

    start: Tensor
    count: Tensor
    weight: Tensor

    @classmethod
    def between(cls, low: int, full: int, device: torch.device) -> Axis:
        """The axis from ``low`` to ``full`` samples, ``align_corners=False``."""
        scale = np.float32(low) / np.float32(full)
        source = np.maximum((np.arange(full, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5), 0)
        cell = np.minimum(source.astype(np.int64), low - 1)
        count = np.bincount(cell, minlength=low)
        start = np.concatenate([[0], np.cumsum(count)[:-1]])
        weight = np.full((low, count.max()), np.nan, np.float32)
        weight[cell, np.arange(full) - start[cell]] = np.clip(source - cell.astype(np.float32), 0, 1)
        return cls(*(torch.from_numpy(a).to(device) for a in (start, count, weight)))


@dataclass(frozen=True)
class Measures:
    """Of N masks at full size: pixels above each of J thresholds (N,J) int64, and the box of the mask (N,4) int64.

    Boxes are XYXY of the first and last set pixel; 0, 0, 0, 0 for an empty mask.
    """

    counts: Tensor
    boxes: Tensor


class Enlargement:
    """From low-resolution logits (h,w) to a picture (H,W).

    Args:
        low: (h,w).
        full: (H,W).
        device: where the logits are.
    """

    def __init__(self, low: tuple[int, int], full: tuple[int, int], device: torch.device) -> None:
        self.low, self.full = low, full
        self.rows = Axis.between(low[0], full[0], device)
        self.cols = Axis.between(low[1], full[1], device)

    def measure(self, logits: Tensor, thresholds: tuple[float, ...], box_threshold: float) -> Measures:
        """Count pixels above each threshold, and find the box of those above one of them.

        Args:
            logits: (N,h,w) float32.
            thresholds: J logits.
            box_threshold: one of ``thresholds``.
        """
        # Counting is done by matrix products, which an outer autocast would round to half precision.
        with torch.autocast(logits.device.type, enabled=False):
            return self._measure(logits, thresholds, box_threshold)

    def _measure(self, logits: Tensor, thresholds: tuple[float, ...], box_threshold: float) -> Measures:
        cells = _Cells.of(logits, self.rows, self.cols)
        undecided = torch.stack([cells.undecided(t) for t in thresholds]).any(dim=0)
        sure = [cells.above(t) & ~undecided for t in thresholds]
        counts = torch.stack([self._pixels(s) for s in sure], dim=1)  # (N,J)
        which = thresholds.index(box_threshold)
        extent = _Extent.of_cells(sure[which], self.rows, self.cols, self.full)

        for part in self._passes(undecided.nonzero()):  # (k,3): mask, cell row, cell column
            n, y, x = part.T
            pixels = cells.enlarge(n, y, x, self.rows, self.cols)  # (k,my,mx)
            inside = torch.empty_like(pixels)
            ones = inside.new_ones(inside[0].numel())
            for j, threshold in enumerate(thresholds):
                torch.gt(pixels, threshold, out=inside)
                counts[:, j].index_add_(0, n, (inside.flatten(1) @ ones).long())
            beyond = extent.beyond(n, y, x, self.rows, self.cols)
            n, y, x = n[beyond], y[beyond], x[beyond]
            extent.include(pixels[beyond] > box_threshold, n, self.rows.start[y], self.cols.start[x])
        return Measures(counts, extent.boxes())

    def _pixels(self, cells: Tensor) -> Tensor:
        """How many pixels cells (N,h,w) have: (N) int64."""
        per_row = cells.float() @ self.cols.count.float()  # (N,h), exact below 2^24 columns
        return (per_row.long() * self.rows.count).sum(dim=1)

    def paint(self, logits: Tensor, threshold: float) -> npt.NDArray[np.bool_]:
        """The mask at full size, (H,W) bool in column-major order as run-length codes want it.

        Args:
            logits: (h,w) float32.
            threshold: logit above which a pixel belongs to the mask.
        """
        cells = _Cells.of(logits[None], self.rows, self.cols)
        sure = cells.above(threshold)[0].T.cpu().numpy()  # (w,h)
        wide = np.repeat(sure, self.cols.count.cpu().numpy(), axis=0)
        mask = np.repeat(wide, self.rows.count.cpu().numpy(), axis=1)  # (W,H)
        flat = mask.reshape(-1)
        for part in self._passes(cells.undecided(threshold).nonzero()):
            n, y, x = part.T
            inside = cells.enlarge(n, y, x, self.rows, self.cols) > threshold
            row = self.rows.start[y][:, None, None] + torch.arange(inside.shape[1], device=y.device)[:, None]
            col = self.cols.start[x][:, None, None] + torch.arange(inside.shape[2], device=x.device)
            flat[(col * self.full[0] + row)[inside].cpu().numpy()] = True
        return mask.T

    def _passes(self, at: Tensor) -> Iterator[Tensor]:
        per_cell = self.rows.weight.shape[1] * self.cols.weight.shape[1]
        return iter(at.split(max(1, PIXELS_PER_PASS // per_cell))) if len(at) else iter(())


@dataclass(frozen=True)
class _Cells:
    """Logits (N,h,w) with the lowest and highest corner of each cell; ``filled``: (h,w), cells that have pixels."""

    logits: Tensor
    lowest: Tensor
    highest: Tensor
    filled: Tensor

    @classmethod
    def of(cls, logits: Tensor, rows: Axis, cols: Axis) -> _Cells:
        padded = F.pad(logits[:, None], (0, 1, 0, 1), mode="replicate")[:, 0]
        near, far = padded[:, :, :-1], padded[:, :, 1:]
        low, high = torch.minimum(near, far), torch.maximum(near, far)
        lowest = torch.minimum(low[:, :-1], low[:, 1:])
        highest = torch.maximum(high[:, :-1], high[:, 1:])
        slack = torch.maximum(highest.abs(), lowest.abs()).mul_(ROUNDING)
        filled = (rows.count > 0)[:, None] & (cols.count > 0)
        return cls(padded, lowest - slack, highest + slack, filled)

    def above(self, threshold: float) -> Tensor:
        """Cells whose pixels are all above, (N,h,w) bool."""
        return (self.lowest > threshold) & self.filled

    def undecided(self, threshold: float) -> Tensor:
        """Cells that may have pixels on both sides."""
        return (self.lowest <= threshold) & (self.highest > threshold) & self.filled

    def enlarge(self, n: Tensor, y: Tensor, x: Tensor, rows: Axis, cols: Axis) -> Tensor:
        """The pixels of k cells, (k,my,mx); NaN where a cell has fewer. Across first, then down, as F.interpolate."""
        across, down = cols.weight[x][:, None, :], rows.weight[y][:, :, None]
        corner = [self.logits[n, y + dy, x + dx][:, None, None] for dy in (0, 1) for dx in (0, 1)]
        back = 1 - across
        upper = corner[0] * back + corner[1] * across  # (k,1,mx)
        lower = corner[2] * back + corner[3] * across
        return (upper * (1 - down)).addcmul_(lower, down)


class _Extent:
    """First and last set pixel in each direction of N masks, collected piece by piece."""

    def __init__(self, low: Tensor, high: Tensor) -> None:
        self.low, self.high = low, high  # (N,2) x y

    @classmethod
    def of_cells(cls, cells: Tensor, rows: Axis, cols: Axis, full: tuple[int, int]) -> _Extent:
        """The extent of whole cells (N,h,w)."""
        low, high = [], []
        for axis, any_, size in ((cols, cells.any(dim=1), full[1]), (rows, cells.any(dim=2), full[0])):
            low.append(torch.where(any_, axis.start, size).amin(dim=1))
            high.append(torch.where(any_, axis.start + axis.count - 1, -1).amax(dim=1))
        return cls(torch.stack(low, dim=1), torch.stack(high, dim=1))

    def beyond(self, n: Tensor, y: Tensor, x: Tensor, rows: Axis, cols: Axis) -> Tensor:
        """Which cells reach out of the extent found so far: the others cannot change it."""
        low, high = self.low[n], self.high[n]
        left, top = cols.start[x], rows.start[y]
        right, bottom = left + cols.count[x], top + rows.count[y]
        return (left < low[:, 0]) | (top < low[:, 1]) | (right - 1 > high[:, 0]) | (bottom - 1 > high[:, 1])

    def include(self, inside: Tensor, n: Tensor, top: Tensor, left: Tensor) -> None:
        """Add k cells' pixels (k,my,mx), which belong to masks ``n`` and begin at ``top`` and ``left``."""
        for axis, (any_, start) in enumerate(((inside.any(dim=1), left), (inside.any(dim=2), top))):
            at = start[:, None] + torch.arange(any_.shape[1], device=any_.device)
            least = torch.where(any_, at, torch.iinfo(torch.int64).max).amin(dim=1)
            most = torch.where(any_, at, -1).amax(dim=1)
            self.low[:, axis].scatter_reduce_(0, n, least, "amin")
            self.high[:, axis].scatter_reduce_(0, n, most, "amax")

    def boxes(self) -> Tensor:
        """(N,4) XYXY."""
        return torch.where((self.high >= 0).all(dim=1, keepdim=True), torch.cat((self.low, self.high), dim=1), 0)
