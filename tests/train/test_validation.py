"""The quick validation of a run: which pictures it scores, and what it says."""

from __future__ import annotations

import pytest

from samphony.evaluate import clicks
from samphony.train import validation
from samphony.train.cache import PictureCache
from samphony.train.validation import quick_validation
from tests.train.conftest import miniature


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many objects of each scored picture were asked for; the score itself is the real one."""
    asked: list[int] = []

    def evaluate(segmenter, image, labels, ids, **options):  # type: ignore[no-untyped-def]
        asked.append(len(ids))
        return clicks.evaluate_picture(segmenter, image, labels, ids, **options)

    monkeypatch.setattr(validation, "evaluate_picture", evaluate)
    return asked


def test_held_out_photos_are_scored_by_kind(cache: PictureCache, scored: list[int]) -> None:
    score = quick_validation(cache, lambda p: True, 4)
    assert score is not None
    numbers = score(miniature().eval())
    assert len(scored) == 4, "photos alone, though frames of clips are held out as well"
    groups = {name.split("/")[0] for name in numbers} - {"score"}
    assert groups == {"salient"}, "one of the nano's groups is there"
    parts = [numbers[f"salient/{what}"] for what in ("click1", "click3", "box")]
    assert numbers["score"] == pytest.approx(sum(parts) / 3)


def test_frames_stand_in_for_photos(cache: PictureCache, scored: list[int]) -> None:
    score = quick_validation(cache, lambda p: p.clip is not None, 4)
    assert score is not None
    assert set(score(miniature().eval())) >= {"video/click1", "score"}
    assert len(scored) == 4


def test_nothing_held_out_is_no_validation(cache: PictureCache) -> None:
    assert quick_validation(cache, lambda p: False, 4) is None
