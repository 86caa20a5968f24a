from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.predict.automatic.players import ColourGenerator

from samphony.errors import ConfigError, MediaError
from samphony.media.masks import decode_rle
from samphony.predict.automatic.sources import open_source, read_window
from samphony.predict.automatic.tiles import generate_by_tiles, make_tiles


def picture() -> np.ndarray:
    """300 × 400: a disc across four tiles, a bar across a seam, a dot inside an overlap, a dot inside a tile."""
    pixels = np.zeros((300, 400, 3), np.uint8)
    y, x = np.mgrid[:300, :400]
    pixels[(y - 150) ** 2 + (x - 120) ** 2 < 80**2] = 50
    pixels[20:30, 210:395] = 100
    pixels[262:270, 110:118] = 150
    pixels[280:290, 30:40] = 200
    return pixels


def test_tiles_cover_and_overlap() -> None:
    tiles = make_tiles((300, 400), 160, 40)
    assert tiles[0] == (0, 0, 160, 160)
    assert tiles[-1] == (240, 140, 400, 300)
    seen = np.zeros((300, 400), bool)
    for x0, y0, x1, y1 in tiles:
        assert (x1 - x0, y1 - y0) == (160, 160)
        seen[y0:y1, x0:x1] = True
    assert seen.all()
    assert make_tiles((100, 120), 160, 40) == [(0, 0, 120, 100)]
    with pytest.raises(ConfigError, match="overlap must be between 1 and half"):
        make_tiles((300, 400), 160, 100)


def test_objects_are_whole_across_seams() -> None:
    pixels = picture()
    steps: list[tuple[int, int]] = []
    records = generate_by_tiles(ColourGenerator(), pixels, 160, 40, lambda done, total: steps.append((done, total)))
    assert len(records) == 4
    by_area = sorted(records, key=lambda r: -r["area"])
    for record, value in zip(by_area, (50, 100, 200, 150), strict=True):
        expected = pixels[..., 0] == value
        np.testing.assert_array_equal(decode_rle(record["segmentation"]), expected)
        assert record["area"] == expected.sum()
        y, x = np.nonzero(expected)
        assert record["bbox"] == [x.min(), y.min(), x.max() - x.min(), y.max() - y.min()]
        for px, py in record["point_coords"]:
            assert expected[int(py), int(px)]
    assert len(by_area[0]["point_coords"]) >= 4  # the disc: seen by four tiles at least
    assert steps[-1] == (len(steps), len(steps))
    report = records.report
    assert report.proposed == report.joined + report.duplicate + report.kept
    assert report.kept == 4
    assert report.joined > 0
    json.dumps(records)


def test_different_objects_that_touch_at_a_seam_stay_apart() -> None:
    pixels = np.zeros((100, 300, 3), np.uint8)
    pixels[10:90, 60:150] = 50
    pixels[10:90, 150:240] = 100
    records = generate_by_tiles(ColourGenerator(), pixels, 160, 40)
    assert sorted(r["area"] for r in records) == [80 * 90, 80 * 90]


class Synthetic:
    """A square picture that exists only where it is read: one object of 0.15 sides and one of 0.002, in the corner."""

    def __init__(self, side: int) -> None:
        self.height = self.width = side
        self.large, self.small = int(side * 0.15), int(side * 0.002)
        self.largest = 0

    def read(self, *, window: Any) -> np.ndarray:
        (top, bottom), (left, right) = window
        pixels = np.zeros((3, bottom - top, right - left), np.uint8)  # channels first, as rasterio
        middle, corner = self.width // 2 - self.large // 3, self.width - self.small
        for value, start, side in ((80, middle, self.large), (160, corner, self.small)):
            y, x = max(start - top, 0), max(start - left, 0)
            pixels[:, y : max(start + side - top, 0), x : max(start + side - left, 0)] = value
        self.largest = max(self.largest, pixels.nbytes)
        return pixels


@pytest.mark.parametrize(("side", "tile"), [(5_000, 1_024), pytest.param(20_000, 2_048, marks=pytest.mark.slow)])
def test_a_picture_that_is_never_whole(side: int, tile: int) -> None:
    source, generator = Synthetic(side), ColourGenerator()
    records = generate_by_tiles(generator, source, tile, 256)
    assert sorted(r["area"] for r in records) == [source.small**2, source.large**2]
    large = max(records, key=lambda r: r["area"])
    assert large["bbox"][2:] == [source.large - 1.0, source.large - 1.0]
    assert large["segmentation"]["size"] == [side, side]
    assert source.largest == generator.largest == 3 * tile**2


def test_memory_maps_and_readers(tmp_path: Path) -> None:
    mapped = np.lib.format.open_memmap(tmp_path / "big.npy", mode="w+", dtype=np.uint8, shape=(50, 60, 3))
    mapped[10:20, 10:20] = 9
    window = read_window(open_source(mapped), (5, 8, 25, 28))
    assert window.shape == (20, 20, 3)
    assert not isinstance(window, np.memmap)
    assert (window == 9).all(axis=2).sum() == 100
    grey = read_window(open_source(np.zeros((30, 30), np.uint8)), (0, 0, 10, 10))
    assert grey.shape == (10, 10, 3)

    class Wrong:
        height = width = 30

        def read(self, *, window: Any) -> np.ndarray:
            return np.zeros((3, 3, 3), np.uint8)

    with pytest.raises(MediaError, match="gave numpy array"):
        read_window(open_source(Wrong()), (0, 0, 10, 10))
