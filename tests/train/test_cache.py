"""The cache of decoded pictures: what it keeps, what it leaves out, and that it is whole or absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samphony.datasets.sources import Labelled, Record
from samphony.errors import MediaError
from samphony.train.cache import build_cache, open_cache
from tests.train.conftest import Drawn


class Broken(Drawn):
    """A record whose file is damaged."""

    def load(self) -> Labelled:
        raise MediaError("broken.jpg cannot be read")


def test_pictures_come_back_squashed_and_described(tmp_path: Path) -> None:
    record = Drawn("a/0", 0)
    cache = build_cache([record], tmp_path / "c", 32, report=pytest.fail)
    assert cache.size == 32
    assert cache.images.shape == (1, 32, 32, 3)
    picture = cache.pictures[0]
    assert (picture.source, picture.kind, picture.name, picture.clip) == ("drawn", "instances", "a/0", None)
    assert picture.ids == (1, 2)
    assert picture.areas == tuple(float((cache.labels[0] == i).mean()) for i in (1, 2))
    _, labels = record.load()
    assert abs(float((labels == 1).mean()) - picture.areas[0]) < 0.02


def test_bad_files_are_reported_and_left_out(tmp_path: Path) -> None:
    lines: list[str] = []
    records: list[Record] = [Drawn("a/0", 0), Broken("a/1", 1), Drawn("a/2", 2)]
    cache = build_cache(records, tmp_path / "c", 32, report=lines.append)
    assert [p.name for p in cache.pictures] == ["a/0", "a/2"]
    assert len(cache.images) == 2
    assert lines == ["left out: broken.jpg cannot be read"]
    again = open_cache(tmp_path / "c")
    assert again.pictures == cache.pictures
    assert np.array_equal(again.images, cache.images)


def test_an_interrupted_build_leaves_no_cache(tmp_path: Path) -> None:
    class Killed(Drawn):
        def load(self) -> Labelled:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_cache([Killed("a/0", 0)], tmp_path / "c", 32)
    with pytest.raises(MediaError, match="is not a picture cache"):
        open_cache(tmp_path / "c")
