"""J&F of tracked objects, against a tracker whose answers are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from samphony.evaluate.video import ClipData, TrackResult, evaluate_clip, label_map, mean_jf


def _clip() -> ClipData:
    """Five frames; object 1 moves and is gone on frame 3, object 7 appears on frame 1."""
    labels = {t: np.zeros((40, 60), dtype=np.uint8) for t in range(5)}
    for t, label in labels.items():
        if t != 3:
            label[5:15, 2 * t : 2 * t + 10] = 1
        if t >= 1:
            label[20:35, 40:55] = 7
    return ClipData("walk", [np.zeros((40, 60, 3), dtype=np.uint8)] * 5, labels)


@dataclass
class Still:
    """Repeats the prompted mask on every frame; a click stands for a square around it."""

    masks: dict[int, NDArray[np.bool_]] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)
    clicks: list[tuple[float, float]] = field(default_factory=list)

    passes: list[tuple[int, list[int]]] = field(default_factory=list)
    """First frame and objects of each pass."""
    confidence: dict[int, float] = field(default_factory=dict)

    def init_state(self, video_path: Any) -> int:
        self.masks = {}
        return len(video_path)

    def add_new_mask(self, inference_state: int, frame_idx: int, obj_id: int, mask: NDArray[np.bool_]) -> None:
        self.masks[obj_id], self.starts[obj_id] = mask, frame_idx

    def add_new_points_or_box(
        self, inference_state: int, frame_idx: int, obj_id: int, points: Any = None, labels: Any = None
    ) -> None:
        (x, y), _ = points[0], labels
        self.clicks.append((float(x), float(y)))
        mask = np.zeros((40, 60), dtype=bool)
        mask[int(y) - 5 : int(y) + 5, int(x) - 5 : int(x) + 5] = True
        self.add_new_mask(inference_state, frame_idx, obj_id, mask)

    def propagate_in_video(self, inference_state: int) -> Iterator[tuple[int, list[int], Tensor]]:
        sure = [self.confidence.get(i, 1.0) for i in self.masks]
        signs = torch.stack([torch.from_numpy(m).float() * 2 - 1 for m in self.masks.values()])[:, None]
        first = min(self.starts[i] for i in self.masks)
        self.passes.append((first, list(self.masks)))
        for t in range(first, inference_state):
            yield t, list(self.masks), signs * torch.tensor(sure)[:, None, None, None]


def test_masks_given_on_the_first_frames() -> None:
    tracker = Still()
    watched: list[TrackResult] = []
    one, seven = evaluate_clip(tracker, _clip(), "mask", watch=lambda result, maps: watched.append(result))
    assert watched == [one, seven]
    assert tracker.starts == {1: 0, 7: 1}
    # Object 1 on frames 1…3 (prompted and last frame left out): shifted by 2 and 4 columns of 10, then gone.
    assert ((one.first, one.frames), (seven.first, seven.frames)) == ((0, (1, 2, 3)), (1, (2, 3)))
    assert one.frames_j == (8 / 12, 6 / 14, 0.0)
    assert one.j == pytest.approx(np.mean(one.frames_j))
    assert one.presence == pytest.approx(2 / 3)
    assert seven.frames_j == (1.0, 1.0)
    assert (seven.j, seven.f, seven.presence, seven.jf) == (1.0, 1.0, 1.0, 1.0)
    j, f, jf = mean_jf([one, seven])
    assert j == pytest.approx((one.j + 1) / 2)
    assert jf == pytest.approx((j + f) / 2)


def test_one_click_falls_on_the_centre_of_the_object() -> None:
    tracker = Still()
    results = evaluate_clip(tracker, _clip(), "click")
    (x, y), (x7, y7) = tracker.clicks
    assert (4 <= x <= 5, 9 <= y <= 10) == (True, True)
    assert (x7, y7) == (47.0, 27.0)
    assert {r.setting for r in results} == {"click"}


def test_objects_compete_for_pixels() -> None:
    logits = torch.tensor([[[[3.0, -1.0, 1.0]]], [[[2.0, -2.0, 5.0]]]])
    found, best = label_map([4, 9], logits)
    assert found.tolist() == [[4, 0, 9]]
    assert best.tolist() == [[3.0, 0.0, 5.0]]


def test_objects_that_appear_later_are_tracked_from_there() -> None:
    tracker = Still()
    evaluate_clip(tracker, _clip(), "mask")
    assert tracker.passes == [(0, [1]), (1, [7])], "as the official tool does"


@pytest.mark.parametrize(("sure", "wins"), [({1: 3.0, 7: 2.0}, 1), ({1: 2.0, 7: 3.0}, 7)])
def test_objects_of_different_passes_compete_too(sure: dict[int, float], wins: int) -> None:
    labels = {t: np.zeros((40, 60), dtype=np.uint8) for t in range(4)}
    for t, label in labels.items():
        label[5:25, 5:25] = 1
        if t == 1:
            label[15:30, 15:30] = 7
    clip = ClipData("overlap", [np.zeros((40, 60, 3), dtype=np.uint8)] * 4, labels)
    maps: list[dict[int, NDArray[np.uint8]]] = []
    evaluate_clip(Still(confidence=sure), clip, "mask", watch=lambda result, predicted: maps.append(predicted))
    assert maps[0][2][20, 20] == wins
    assert maps[0][2][10, 10] == 1
    assert maps[0][0][20, 20] == 1, "the other is not there yet"


def test_a_clip_without_objects_has_no_results() -> None:
    clip = _clip()
    assert evaluate_clip(Still(), ClipData("empty", clip.frames, {0: np.zeros((40, 60), dtype=np.uint8)}), "mask") == []
    assert all(np.isnan(v) for v in mean_jf([]))
