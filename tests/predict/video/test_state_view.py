"""The session reads as the official inference state."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from samphony.predict.video import SAM2VideoPredictor

KEYS = [
    "images",
    "num_frames",
    "offload_video_to_cpu",
    "offload_state_to_cpu",
    "video_height",
    "video_width",
    "device",
    "storage_device",
    "point_inputs_per_obj",
    "mask_inputs_per_obj",
    "cached_features",
    "constants",
    "obj_id_to_idx",
    "obj_idx_to_id",
    "obj_ids",
    "output_dict_per_obj",
    "temp_output_dict_per_obj",
    "frames_tracked_per_obj",
]


def test_every_documented_key(predictor: SAM2VideoPredictor, clip: np.ndarray) -> None:
    state = predictor.init_state(clip[:4], offload_state_to_cpu=True)
    predictor.add_new_points_or_box(state, 0, 7, points=[[20, 16]], labels=[1])
    predictor.add_new_mask(state, 1, 8, np.ones((48, 80), bool))
    assert list(state) == KEYS
    assert state["temp_output_dict_per_obj"][0]["cond_frame_outputs"][0]["maskmem_features"] is None
    for _ in predictor.propagate_in_video(state, start_frame_idx=0):
        pass
    assert (state["num_frames"], state["video_height"], state["video_width"]) == (4, 48, 80)
    assert state["images"][2].shape == (3, 64, 64)
    assert len(state["images"][1:3]) == 2
    assert state["obj_ids"] == [7, 8]
    assert state["obj_id_to_idx"] == {7: 0, 8: 1}
    assert state["obj_idx_to_id"] == {0: 7, 1: 8}
    assert state["point_inputs_per_obj"][0][0]["point_labels"].tolist() == [[1]]
    assert state["mask_inputs_per_obj"][1][1].shape == (1, 1, 64, 64)
    assert state["frames_tracked_per_obj"][0] == {t: {"reverse": False} for t in range(4)}
    assert list(state["cached_features"]) == [3]
    outputs = state["output_dict_per_obj"][0]
    assert list(outputs["cond_frame_outputs"]) == [0]
    assert sorted(outputs["non_cond_frame_outputs"]) == [1, 2, 3]
    record = outputs["non_cond_frame_outputs"][2]
    assert record["maskmem_features"].shape == (1, 8, 4, 4)
    assert record["maskmem_features"].dtype == torch.bfloat16
    assert record["maskmem_pos_enc"][-1].shape == (1, 8, 4, 4)
    assert record["pred_masks"].shape == (1, 1, 16, 16)
    assert record["obj_ptr"].shape == (1, 32)
    assert record["object_score_logits"].shape == (1, 1)
    assert state["constants"]["maskmem_pos_enc"][0].shape == (1, 8, 4, 4)


def test_read_only_and_clear_about_other_keys(predictor: SAM2VideoPredictor, clip: np.ndarray) -> None:
    state = predictor.init_state(clip[:2])
    with pytest.raises(TypeError):
        state["num_frames"] = 3  # type: ignore[index]
    with pytest.raises(KeyError, match="not a key of the official inference state"):
        state["frames"]
    with pytest.raises(KeyError):
        state["output_dict_per_obj"][0]
    assert "images" in state
    assert state.get("nothing") is None
