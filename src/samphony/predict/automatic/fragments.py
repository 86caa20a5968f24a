"""Masks that were found tile by tile, and which of them are one object.

Two masks of neighbouring tiles are one object if they agree where both tiles look: the intersection over union of the
two, within the overlap, is high. Each mask has at most one counterpart in another tile, the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from samphony.media.masks import BoolArray, Rle, decode_rle, encode_rle
from samphony.media.rle import compress_counts, join_runs, runs_to_counts, window_runs

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels of the picture, ends exclusive."""
STRIP_PIXELS = 1 << 24
"""A merged mask is painted in strips of at most so many pixels."""


def intersect(a: Box, b: Box) -> Box | None:
    """What two boxes share."""
    x0, y0, x1, y1 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


@dataclass(frozen=True)
class Fragment:
    """A mask as one tile saw it.

    box: around its pixels. code: its run-length code within the box. tile: the tile. The rest is the tile's record.
    """

    box: Box
    code: Rle
    tile: Box
    area: int
    predicted_iou: float
    stability_score: float
    point: tuple[float, float]

    @classmethod
    def cut(cls, mask: BoolArray, tile: Box, iou: float, stability: float, point: tuple[float, float]) -> Fragment:
        """From a mask (h,w) of the tile, with at least one pixel set; ``point`` in pixels of the tile."""
        rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(cols[0]), int(cols[-1]) + 1
        return cls(
            box=(tile[0] + left, tile[1] + top, tile[0] + right, tile[1] + bottom),
            code=encode_rle(mask[top:bottom, left:right]),
            tile=tile,
            area=int(np.count_nonzero(mask)),
            predicted_iou=iou,
            stability_score=stability,
            point=(tile[0] + point[0], tile[1] + point[1]),
        )

    def paint(self, canvas: BoolArray, window: Box) -> None:
        """Set its pixels in a canvas that shows ``window``."""
        shared = intersect(self.box, window)
        if shared is None:
            return
        x0, y0, x1, y1 = shared
        left, top = self.box[:2]
        part = decode_rle(self.code)[y0 - top : y1 - top, x0 - left : x1 - left]
        canvas[y0 - window[1] : y1 - window[1], x0 - window[0] : x1 - window[0]] |= part


def counterparts(a: Sequence[Fragment], b: Sequence[Fragment], overlap: Box, min_iou: float) -> list[tuple[int, int]]:
    """Pairs (index in a, index in b) that agree within the overlap of their tiles, best first."""
    rows, inside_a = _within(a, overlap)
    cols, inside_b = _within(b, overlap)
    if len(rows) == 0 or len(cols) == 0:
        return []
    shared = inside_a @ inside_b.T
    union = inside_a.sum(axis=1)[:, None] + inside_b.sum(axis=1) - shared
    iou = shared / union
    pairs = []
    for flat in np.argsort(-iou, axis=None, kind="stable"):
        i, j = divmod(int(flat), len(cols))
        if iou[i, j] < min_iou:
            break
        pairs.append((int(rows[i]), int(cols[j])))
        iou[i, :] = iou[:, j] = -1.0
    return pairs


def _within(fragments: Sequence[Fragment], window: Box) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The fragments with pixels in a window: their indices (n), and their pixels there (n, all) as 0 and 1."""
    size = (window[3] - window[1], window[2] - window[0])
    index, pixels = [], []
    for i, fragment in enumerate(fragments):
        if intersect(fragment.box, window) is None:
            continue
        canvas = np.zeros(size, bool)
        fragment.paint(canvas, window)
        if canvas.any():
            index.append(i)
            pixels.append(canvas.ravel())
    return np.array(index, np.int64), np.array(pixels, np.float32).reshape(len(index), size[0] * size[1])


@dataclass
class Groups:
    """Fragments, and a disjoint-set forest over them."""

    fragments: list[Fragment] = field(default_factory=list)
    _parent: list[int] = field(default_factory=list)

    def add(self, fragments: Sequence[Fragment]) -> range:
        """New fragments, each a group of its own; returns their numbers."""
        numbers = range(len(self.fragments), len(self.fragments) + len(fragments))
        self.fragments.extend(fragments)
        self._parent.extend(numbers)
        return numbers

    def join(self, a: int, b: int) -> None:
        """Make the groups of two fragments one."""
        self._parent[max(self._root(a), self._root(b))] = min(self._root(a), self._root(b))

    def groups(self) -> list[list[Fragment]]:
        """The groups, by their first fragments."""
        members: dict[int, list[Fragment]] = {}
        for number, fragment in enumerate(self.fragments):
            members.setdefault(self._root(number), []).append(fragment)
        return [members[root] for root in sorted(members)]

    def _root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number


def union_code(fragments: Sequence[Fragment], hw: tuple[int, int]) -> tuple[Rle, int]:
    """The run-length code of the union of fragments in a picture (H,W), and its area."""
    x0, y0 = min(f.box[0] for f in fragments), min(f.box[1] for f in fragments)
    x1, y1 = max(f.box[2] for f in fragments), max(f.box[3] for f in fragments)
    strip = max(1, STRIP_PIXELS // (y1 - y0))
    parts = []
    for left in range(x0, x1, strip):
        window = (left, y0, min(left + strip, x1), y1)
        canvas = np.zeros((window[2] - left, y1 - y0), bool).T  # column-major
        for fragment in fragments:
            fragment.paint(canvas, window)
        parts.append(window_runs(canvas, (left, y0), hw[0]))
    runs = join_runs(parts)
    return compress_counts(runs_to_counts(runs, hw), hw), int((runs[:, 1] - runs[:, 0]).sum())
