"""Segment everything in pictures of any size: overlapping tiles, masks merged across the seams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from samphony.errors import ConfigError
from samphony.predict.automatic.fragments import Box, Fragment, Groups, counterparts, intersect, union_code
from samphony.predict.automatic.nms import non_maximum_suppression
from samphony.predict.automatic.records import MaskRecords, Record, record_mask
from samphony.predict.automatic.report import merge_reports
from samphony.predict.automatic.sources import open_source, read_window

SEAM_IOU = 0.5
"""Masks of two tiles that agree to this degree where both tiles look are one object."""


class Generator(Protocol):
    """Whatever segments everything in one tile; ``SAM2AutomaticMaskGenerator`` does."""

    box_nms_thresh: float

    def generate(self, image: Any) -> MaskRecords:
        """Records of a picture (h,w,3)."""


def make_tiles(hw: tuple[int, int], tile: int, overlap: int) -> list[Box]:
    """Squares of ``tile`` pixels, row by row, neighbours sharing at least ``overlap``; the last ones end with the
    picture. A picture smaller than a tile is one tile."""
    if not 0 < overlap <= tile // 2:
        raise ConfigError(f"overlap must be between 1 and half of tile_size {tile}, got {overlap}")
    ys, xs = (_starts(length, tile, overlap) for length in hw)
    return [(x, y, min(x + tile, hw[1]), min(y + tile, hw[0])) for y in ys for x in xs]


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    last = max(length - tile, 0)
    return [*range(0, last, tile - overlap), last]


def generate_by_tiles(
    generator: Generator,
    image: Any,
    tile_size: int = 1024,
    overlap: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> MaskRecords:
    """Segment everything in a picture that is too large, or holds too small objects, for one pass.

    Memory is bounded by a tile and by the run-length codes of the result, not by the picture.

    Args:
        generator: segments a tile.
        image: an array, a memory map, an object with ``height``, ``width`` and ``read(window=((row0, row1),
            (col0, col1)))`` such as a rasterio data set, or any photo.
        tile_size: pixels per side of a tile.
        overlap: pixels that neighbours share; objects no larger than this are seen whole by some tile.
        progress: called with tiles done and tiles in all.

    Returns:
        records as from ``generate`` in ``coco_rle`` mode, in pixels of the picture. ``predicted_iou`` and
        ``stability_score`` of a merged mask are means over its tiles' masks, weighted by area; ``point_coords`` has the
        clicks of all; ``crop_box`` is around their tiles.
    """
    source = open_source(image)
    hw = (source.height, source.width)
    tiles = make_tiles(hw, tile_size, overlap)
    groups = Groups()
    seen: list[tuple[Box, range]] = []
    reports = []
    for done, tile in enumerate(tiles, 1):
        found = generator.generate(read_window(source, tile))
        reports.append(found.report)
        fragments = [_fragment(record, tile) for record in found if record["area"] > 0]
        numbers = groups.add(fragments)
        seen = [(box, n) for box, n in seen if box[3] > tile[1]]  # rows above the tile are out of reach
        for other, others in seen:
            shared = intersect(other, tile)
            if shared is not None:
                earlier = groups.fragments[others.start : others.stop]
                for a, b in counterparts(earlier, fragments, shared, SEAM_IOU):
                    groups.join(others[a], numbers[b])
        seen.append((tile, numbers))
        if progress is not None:
            progress(done, len(tiles))
    records = [_merged(group, hw) for group in groups.groups()]
    boxes = np.array([r["bbox"] for r in records], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    scores = np.array([r["predicted_iou"] for r in records], np.float32)
    kept = non_maximum_suppression(boxes, scores, generator.box_nms_thresh)
    report = merge_reports(reports, fragments=len(groups.fragments), objects=len(records), kept=len(kept))
    return MaskRecords([records[i] for i in kept], hw, report)


def _fragment(record: Record, tile: Box) -> Fragment:
    x, y = record["point_coords"][0]
    return Fragment.cut(
        record_mask(record), tile, record["predicted_iou"], record["stability_score"], (float(x), float(y))
    )


def _merged(fragments: Sequence[Fragment], hw: tuple[int, int]) -> Record:
    code, area = union_code(fragments, hw)
    weights = np.array([f.area for f in fragments], np.float64)
    boxes, tiles = np.array([f.box for f in fragments]), np.array([f.tile for f in fragments])
    x0, y0 = boxes[:, :2].min(axis=0)
    x1, y1 = boxes[:, 2:].max(axis=0) - 1
    left, top = tiles[:, :2].min(axis=0)
    right, bottom = tiles[:, 2:].max(axis=0)
    return {
        "segmentation": code,
        "area": area,
        "bbox": [float(v) for v in (x0, y0, x1 - x0, y1 - y0)],
        "predicted_iou": float(np.average([f.predicted_iou for f in fragments], weights=weights)),
        "point_coords": [list(f.point) for f in fragments],
        "stability_score": float(np.average([f.stability_score for f in fragments], weights=weights)),
        "crop_box": [float(v) for v in (left, top, right - left, bottom - top)],
    }
