"""Bounded memory changes no bit: windows, spilled histories, streams."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.predict.video.conftest import make_clip

from samphony.errors import MediaError
from samphony.model.base import SAM2Base
from samphony.predict.video import SAM2VideoPredictor, VideoOptions
from samphony.predict.video.archive import Archive
from samphony.predict.video.memory_bank import Memory

KEEP = VideoOptions(history="keep")
SPILL = VideoOptions(history="spill", ram_budget=0)
WINDOW = VideoOptions(history="window")


def run(model: SAM2Base, options: VideoOptions, clip: np.ndarray, corrections: bool = False) -> list[torch.Tensor]:
    """Track forward from a click; then, if asked, correct a frame in the middle and track both ways from it."""
    predictor = SAM2VideoPredictor(model, options)
    state = predictor.init_state(clip)
    answers = [predictor.add_new_points_or_box(state, 0, 1, points=[[20, 16]], labels=[1])[2]]
    answers += [logits for _, _, logits in predictor.propagate_in_video(state)]
    if corrections:
        answers.append(predictor.add_new_points_or_box(state, 9, 1, points=[[40, 20]], labels=[1])[2])
        answers += [logits for _, _, logits in predictor.propagate_in_video(state, start_frame_idx=10)]
        answers += [x for _, _, x in predictor.propagate_in_video(state, start_frame_idx=12, reverse=True)]
    return answers


def test_window_is_bit_equal_to_keeping_all(living_model: SAM2Base) -> None:
    clip = make_clip(26)
    for kept, bounded in zip(run(living_model, KEEP, clip), run(living_model, WINDOW, clip), strict=True):
        assert torch.equal(kept, bounded)


@pytest.mark.parametrize("stride", [2, 3])
def test_window_with_temporal_stride(living_model: SAM2Base, stride: int) -> None:
    clip = make_clip(26)
    before = living_model.config
    try:
        living_model.config = replace(before, memory_temporal_stride_for_eval=stride)
        for kept, bounded in zip(run(living_model, KEEP, clip), run(living_model, WINDOW, clip), strict=True):
            assert torch.equal(kept, bounded)
    finally:
        living_model.config = before


def test_window_drops_what_cannot_matter(living_model: SAM2Base) -> None:
    predictor = SAM2VideoPredictor(living_model, WINDOW)
    state = predictor.init_state(make_clip(26))
    predictor.add_new_points_or_box(state, 0, 1, points=[[20, 16]], labels=[1])
    for _ in predictor.propagate_in_video(state):
        pass
    bank = state.objects[1].bank
    assert len(bank.tracked_frames) <= 16
    with_features = [m for is_conditioning, m in bank.memories() if not is_conditioning and m.features is not None]
    assert len(with_features) <= 7


def test_a_smaller_window_would_be_noticed(living_model: SAM2Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """The equality above can fail: without pointers 8 to 15 the numbers differ."""
    from samphony.predict.video.policies import MemoryPolicy, Reach

    clip = make_clip(26)
    kept = run(living_model, KEEP, clip)
    monkeypatch.setattr(MemoryPolicy, "reach", lambda self, config: Reach(6, 6))
    bounded = run(living_model, WINDOW, clip)
    assert not all(torch.equal(a, b) for a, b in zip(kept, bounded, strict=True))


def test_spilled_history_serves_corrections_and_reverse(living_model: SAM2Base) -> None:
    clip = make_clip(20)
    kept = run(living_model, KEEP, clip, corrections=True)
    spilled = run(living_model, SPILL, clip, corrections=True)
    for a, b in zip(kept, spilled, strict=True):
        assert torch.equal(a, b)


def test_small_records_count_for_what_they_take() -> None:
    def record(t: int) -> Memory:
        return Memory(t, torch.zeros(1, 1, 4, 4), torch.zeros(1, 8), torch.zeros(1, 1), torch.zeros(1))

    numbers = 4 * (16 + 8 + 1 + 1)
    archive = Archive(budget=100 * (numbers + 2560))
    held = [archive.shelve(record(t)) for t in range(150)]
    assert archive.spilled == 50 * numbers
    assert archive.resident == archive.budget
    assert [shelved.get().frame_idx for shelved in held] == list(range(150))
    del held
    assert archive.resident == archive.spilled == 0


def test_spilling_moves_bytes_out_of_ram_and_frees_places(living_model: SAM2Base) -> None:
    predictor = SAM2VideoPredictor(living_model, SPILL)
    state = predictor.init_state(make_clip(12))
    predictor.add_new_points_or_box(state, 0, 1, points=[[20, 16]], labels=[1])
    for _ in predictor.propagate_in_video(state):
        pass
    archive = state.archive
    assert archive.resident == 0
    once = archive.spilled
    assert once > 0
    end = archive._end
    for _ in predictor.propagate_in_video(state):  # overwrites every record: the places are used again
        pass
    assert archive.spilled == once
    assert archive._end <= end + end // 4


def test_full_disk_is_an_error_that_loses_nothing(living_model: SAM2Base, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = SAM2VideoPredictor(living_model, SPILL)
    state = predictor.init_state(make_clip(8))
    predictor.add_new_points_or_box(state, 0, 1, points=[[20, 16]], labels=[1])
    written = Archive.write
    calls = 0

    def fail_later(self: Archive, data: np.ndarray) -> int:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise MediaError("no space left on device")
        return written(self, data)

    monkeypatch.setattr(Archive, "write", fail_later)
    passed = []
    with pytest.raises(MediaError, match="no space"):
        passed.extend(frame_idx for frame_idx, _, _ in predictor.propagate_in_video(state))
    bank = state.objects[1].bank
    assert passed == [0, 1, 2, 3]
    assert all(bank.any(t) is not None for t in passed)
    rest = [f for f, _, _ in predictor.propagate_in_video(state, start_frame_idx=4)]
    assert rest == [4, 5, 6, 7]
