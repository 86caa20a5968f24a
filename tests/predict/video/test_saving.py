"""Sessions come back from disk with the same numbers, and serve as references."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.predict.video.conftest import make_clip

from samphony.errors import CheckpointError
from samphony.predict.video import SAM2VideoPredictor


def test_saved_session_goes_on_with_the_same_numbers(
    predictor: SAM2VideoPredictor, clip: np.ndarray, tmp_path: Path
) -> None:
    clip = clip[:10]
    state = predictor.init_state(clip)
    predictor.add_new_points_or_box(state, 0, 1, points=[[20, 16]], labels=[1])
    predictor.add_new_mask(state, 1, "two", np.eye(48, 80, dtype=bool))
    for _ in predictor.propagate_in_video(state, max_frame_num_to_track=4):
        pass
    predictor.add_new_points_or_box(state, 3, 1, points=[[30, 20]], labels=[0])  # pending when it is saved
    predictor.save_session(state, tmp_path / "session.json")
    again = predictor.load_session(tmp_path / "session.json", clip)
    assert again.obj_ids == [1, "two"]
    assert again["frames_tracked_per_obj"] == state["frames_tracked_per_obj"]
    for a, b in zip(
        predictor.propagate_in_video(state, start_frame_idx=4),
        predictor.propagate_in_video(again, start_frame_idx=4),
        strict=True,
    ):
        assert torch.equal(a[2], b[2])
    # clicks are there too: adding to them is the same
    a = predictor.add_new_points_or_box(state, 0, 1, points=[[5, 5]], labels=[0], clear_old_points=False)
    b = predictor.add_new_points_or_box(again, 0, 1, points=[[5, 5]], labels=[0], clear_old_points=False)
    assert torch.equal(a[2], b[2])
    assert again.objects[1].points[0].labels.tolist() == [[1, 0]]


def test_files_of_another_video_or_no_session(predictor: SAM2VideoPredictor, clip: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    predictor.save_session(predictor.init_state(clip), path)
    with pytest.raises(CheckpointError, match="20 frames of 80 × 48"):
        predictor.load_session(path, clip[:5])
    path.write_text("{}")
    with pytest.raises(CheckpointError, match=r"session\.json"):
        predictor.load_session(path, clip)
    with pytest.raises(CheckpointError, match=r"missing\.json"):
        predictor.load_session(tmp_path / "missing.json", clip)


def test_reference_from_another_video(predictor: SAM2VideoPredictor, clip: np.ndarray) -> None:
    shown = predictor.init_state(clip[:3])
    predictor.add_new_points_or_box(shown, 0, 7, points=[[20, 16]], labels=[1])
    predictor.add_new_points_or_box(shown, 2, 7, points=[[26, 18]], labels=[1])
    state = predictor.init_state(make_clip(5, seed=3), reference=shown)
    assert state.obj_ids == [7]
    frames = list(predictor.propagate_in_video(state))
    assert [f for f, _, _ in frames] == [0, 1, 2, 3, 4]
    assert sorted(state.objects[7].bank.conditioning) == [-2, -1]
    assert all(bool(torch.isfinite(logits).all()) for _, _, logits in frames)
