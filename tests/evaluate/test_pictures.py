"""Pictures of results: contours where the masks are, only the extremes kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samphony.evaluate.pictures import ANSWER, TRUTH, Extremes, save_comparison, track_sheet
from samphony.evaluate.video import ClipData, Setting, TrackResult
from samphony.media.photo import load_photo

H, W, SCALE, GAP = 60, 96, 5, 4  # the sheet shows frames 480 pixels wide


def _clip() -> tuple[ClipData, dict[int, np.ndarray]]:
    labels = {t: np.zeros((H, W), np.uint8) for t in range(6)}
    for label in labels.values():
        label[10:30, 20:40] = 3
    answers = {t: np.zeros((H, W), np.uint8) for t in labels}
    for answer in answers.values():
        answer[20:40, 60:80] = 3
    return ClipData("walk", [np.zeros((H, W, 3), np.uint8)] * 6, labels), answers


def _result(setting: Setting) -> TrackResult:
    return TrackResult("walk", 3, setting, 0.0, 0.0, 1.0, 0, (1, 2, 3, 4), (0.0, 0.0, 0.0, 0.0))


def _tile(sheet: np.ndarray, place: int) -> np.ndarray:
    row, column = divmod(place, 3)
    top, left = GAP + row * (H * SCALE + GAP), GAP + column * (W * SCALE + GAP)
    return sheet[top : top + H * SCALE, left : left + W * SCALE]


def _around(picture: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Box x0 y0 x1 y1 of the pixels of a colour."""
    ys, xs = np.nonzero((picture == colour).all(axis=2))
    return int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max())


def test_a_sheet_shows_the_prompt_then_both_contours() -> None:
    clip, answers = _clip()
    sheet = track_sheet(_result("mask"), clip, answers)
    assert sheet.shape == (2 * (H * SCALE + GAP) + GAP, 3 * (W * SCALE + GAP) + GAP, 3)
    assert _around(_tile(sheet, 0), TRUTH) == (100, 50, 199, 149)
    assert not (_tile(sheet, 0) == ANSWER).all(axis=2).any(), "the prompted frame has no answer"
    for place in (1, 2, 3, 4):
        assert _around(_tile(sheet, place), TRUTH) == (100, 50, 199, 149)
        assert _around(_tile(sheet, place), ANSWER) == (300, 100, 399, 199)
        words = _tile(sheet, place)[-22:]
        assert (words > 200).any(), "its number and J"
    assert (_tile(sheet, 5) == 255).all(), "four frames are measured"


def test_long_clips_are_sampled_and_clicks_are_marked() -> None:
    clip, answers = _clip()
    sheet = track_sheet(_result("click"), clip, answers, count=3)
    assert sheet.shape[0] == H * SCALE + 2 * GAP
    plain = track_sheet(_result("mask"), clip, answers, count=3)
    differs = (_tile(sheet, 0)[:200] != _tile(plain, 0)[:200]).any(axis=2)
    ys, xs = np.nonzero(differs)
    assert (xs.min() + xs.max()) / 2 == pytest.approx(29.5 * SCALE, abs=SCALE), "in the middle of the object"
    assert (ys.min() + ys.max()) / 2 == pytest.approx(19.5 * SCALE, abs=SCALE)


def test_only_the_extremes_are_drawn_and_kept(tmp_path: Path) -> None:
    extremes, drawn = Extremes(count=2), []
    for score in (0.5, 0.6, 0.1, 0.9, 0.55, 0.2):

        def draw(score: float = score) -> np.ndarray:
            drawn.append(score)
            return np.full((2, 2, 3), round(score * 100), np.uint8)

        extremes.offer(score, draw)
    assert drawn == [0.5, 0.6, 0.1, 0.9, 0.2], "0.55 is neither good nor bad"
    files = extremes.save(tmp_path / "out", "video-")
    values = {file.name: int(load_photo(file)[0, 0, 0]) for file in files}
    assert values == {
        "video-worst-1.png": 10,
        "video-worst-2.png": 20,
        "video-best-1.png": 90,
        "video-best-2.png": 60,
    }


def test_a_comparison_has_the_truth_on_the_left(tmp_path: Path) -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    truth, mask = np.zeros((2, 20, 30), bool)
    truth[2:8, 2:8], mask[10:18, 10:28] = True, True
    save_comparison(tmp_path / "new" / "a.png", image, mask, truth)
    shown = load_photo(tmp_path / "new" / "a.png").any(axis=2)
    assert shown.shape == (20, 64)
    np.testing.assert_array_equal(shown[:, :30], truth)
    np.testing.assert_array_equal(shown[:, 34:], mask)
