"""The session reads, and can be changed, as the official inference state."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from samphony.errors import StateError
from samphony.model.base import SAM2Base
from samphony.predict.video import SAM2VideoPredictor, VideoOptions, VideoSession

KEYS = {
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
}


def click(predictor: SAM2VideoPredictor, state: Any, frame: int = 0, obj: int = 1, x: int = 20) -> Any:
    """A click on an object."""
    return predictor.add_new_points_or_box(state, frame, obj, points=[[x, 16]], labels=[1])


def tracked(predictor: SAM2VideoPredictor, state: Any, **arguments: Any) -> list[Tensor]:
    """Logits of every frame."""
    return [logits for _, _, logits in predictor.propagate_in_video(state, **arguments)]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    """Whether two passes gave the same numbers to the bit."""
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_every_documented_key(predictor: SAM2VideoPredictor, clip: np.ndarray) -> None:
    state = predictor.init_state(clip[:4], offload_state_to_cpu=True)
    click(predictor, state, obj=7)
    predictor.add_new_mask(state, 1, 8, np.ones((48, 80), bool))
    assert set(state) == KEYS
    assert len(state) == len(KEYS)
    assert state["temp_output_dict_per_obj"][0]["cond_frame_outputs"][0]["maskmem_features"] is None
    tracked(predictor, state, start_frame_idx=0)
    assert (state["num_frames"], state["video_height"], state["video_width"]) == (4, 48, 80)
    assert state["images"][2].shape == (3, 64, 64)
    assert state["images"][1:3].shape == (2, 3, 64, 64)
    assert state["images"].shape == (4, 3, 64, 64)
    assert (state["images"].dtype, state["images"].device) == (torch.float32, torch.device("cpu"))
    assert state["obj_ids"] == [7, 8]
    assert state["obj_id_to_idx"] == {7: 0, 8: 1}
    assert state["obj_idx_to_id"] == {0: 7, 1: 8}
    assert state["point_inputs_per_obj"][0][0]["point_labels"].tolist() == [[1]]
    assert state["mask_inputs_per_obj"][1][1].shape == (1, 1, 64, 64)
    assert state["frames_tracked_per_obj"][0] == {t: {"reverse": False} for t in range(4)}
    picture, features = state["cached_features"][3]
    assert picture.shape == (1, 3, 64, 64)
    assert len(features["backbone_fpn"]) == 3
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
    assert predictor._get_maskmem_pos_enc(state, record)[0].shape == (1, 8, 4, 4)  # type: ignore[index]
    assert state["constants"]["maskmem_pos_enc"][0].shape == (1, 8, 4, 4)


def test_other_keys(predictor: SAM2VideoPredictor, clip: np.ndarray) -> None:
    state = predictor.init_state(clip[:2])
    with pytest.raises(KeyError, match="not a key of the official inference state"):
        state["frames"]
    assert "frames" not in state
    state["frames"] = [1]
    assert state.pop("frames") == [1]
    assert state.get("frames") is None
    with pytest.raises(KeyError):
        del state["frames"]
    with pytest.raises(StateError, match="'images' of the inference state cannot be removed"):
        del state["images"]
    with pytest.raises(KeyError):
        state["output_dict_per_obj"][0]


def test_looking_at_the_records_changes_no_number(predictor: SAM2VideoPredictor, clip: np.ndarray) -> None:
    plain, seen = (predictor.init_state(clip[:9]) for _ in range(2))
    for state in (plain, seen):
        click(predictor, state)
        click(predictor, state, obj=2, x=60)
    expected = tracked(predictor, plain)
    answers = []
    for t, ids, logits in predictor.propagate_in_video(seen):
        answers.append(logits)
        assert ids == [1, 2]
        kind = "non_cond_frame_outputs" if t else "cond_frame_outputs"
        assert seen["output_dict_per_obj"][1][kind][t]["obj_ptr"].shape == (1, 32)
    assert same(answers, expected)
    for state in (plain, seen):
        click(predictor, state, frame=4, x=44)
    assert same(tracked(predictor, seen, reverse=True), tracked(predictor, plain, reverse=True))
    for state in (plain, seen):
        assert predictor.remove_object(state, 1)[0] == [2]
    assert seen["obj_idx_to_id"] == {0: 2}
    assert same(tracked(predictor, seen), tracked(predictor, plain))


def test_popped_records_are_forgotten(living_model: SAM2Base, clip: np.ndarray) -> None:
    pruning = SAM2VideoPredictor(living_model, VideoOptions(clear_memory_around_prompts=True))
    expected = pruning.init_state(clip)
    by_hand = pruning.with_options(clear_memory_around_prompts=False)
    state = by_hand.init_state(clip)
    for predictor, one in ((pruning, expected), (by_hand, state)):
        click(predictor, one)
        tracked(predictor, one)
        click(predictor, one, frame=0, x=40)
    by_hand._clear_non_cond_mem_around_input(state, 0)
    assert sorted(state["output_dict_per_obj"][0]["non_cond_frame_outputs"]) == list(range(8, 20))
    assert sorted(state.objects[1].bank.tracked_frames) == list(range(8, 20))
    assert same(tracked(by_hand, state, start_frame_idx=1), tracked(pruning, expected)[1:])


def test_a_record_moved_to_the_conditioning_frames_is_recalled(predictor: SAM2VideoPredictor, clip: np.ndarray) -> None:
    state = predictor.init_state(clip)
    click(predictor, state)
    before = tracked(predictor, state)
    outputs = state["output_dict_per_obj"][0]
    outputs["cond_frame_outputs"][9] = outputs["non_cond_frame_outputs"].pop(9)
    after = tracked(predictor, state, start_frame_idx=0)
    assert torch.equal(after[9], before[9])
    assert not torch.equal(after[15], before[15])
    record = outputs["cond_frame_outputs"][9]
    record["obj_ptr"] = record["obj_ptr"] + 1
    assert not torch.equal(tracked(predictor, state, start_frame_idx=15)[0], after[15])
    del record["obj_ptr"]
    with pytest.raises(StateError, match="record of frame 9 has no 'obj_ptr'"):
        tracked(predictor, state, start_frame_idx=15)


def test_undo_goes_back_behind_what_a_script_took_in_hand(predictor: SAM2VideoPredictor, clip: np.ndarray) -> None:
    state = predictor.init_state(clip[:6])
    click(predictor, state)
    expected = tracked(predictor, state)
    click(predictor, state, obj=2, x=60)
    assert list(state["obj_id_to_idx"]) == [1, 2]
    state.undo()
    assert state["obj_ids"] == [1]
    assert list(state["output_dict_per_obj"]) == [0]
    assert same(tracked(predictor, state), expected)
    predictor.reset_state(state)
    assert (state["obj_ids"], state["output_dict_per_obj"]) == ([], {})


def test_a_copy_goes_its_own_way(predictor: SAM2VideoPredictor, clip: np.ndarray) -> None:
    state = predictor.init_state(clip[:6])
    click(predictor, state)
    expected = tracked(predictor, state)
    state["note"] = ["mine"]
    other = copy.deepcopy(state)
    assert isinstance(other, VideoSession)
    click(predictor, other, obj=2, x=60)
    other["note"].append("other")
    assert (state["obj_ids"], state["note"], other["obj_ids"]) == ([1], ["mine"], [1, 2])
    assert same(tracked(predictor, state), expected)


class TestFrames:
    def test_appended(self, predictor: SAM2VideoPredictor, clip: np.ndarray) -> None:
        whole, live = predictor.init_state(clip[:6]), predictor.init_state(clip[:2])
        for state in (whole, live):
            click(predictor, state)
        expected = tracked(predictor, whole)
        answers = tracked(predictor, live)
        for t in range(2, 6):
            live["images"].append(whole["images"][t])
            live["num_frames"] += 1
            answers += tracked(predictor, live, start_frame_idx=t, max_frame_num_to_track=0)
        # Below 16 frames the age of pointers is coded by the length of the video, so live answers may differ.
        assert len(answers) == len(expected) == 6
        assert torch.equal(answers[0], expected[0])
        assert same(tracked(predictor, live, start_frame_idx=0), tracked(predictor, whole, start_frame_idx=0))

    def test_joined_with_torch(self, predictor: SAM2VideoPredictor, clip: np.ndarray) -> None:
        whole, live = predictor.init_state(clip[:4]), predictor.init_state(clip[:2])
        live["images"] = torch.cat([live["images"], whole["images"][2:]], dim=0)
        live["num_frames"] = len(live["images"])
        for state in (whole, live):
            click(predictor, state)
        assert same(tracked(predictor, live), tracked(predictor, whole))
        assert torch.equal(torch.stack(list(whole["images"])), live["images"])

    def test_put_in_the_place_of_others(self, predictor: SAM2VideoPredictor, clip: np.ndarray) -> None:
        state, other = predictor.init_state(clip[:4]), predictor.init_state(clip[[0, 1, 7, 3]])
        images = state["images"]
        images[2] = other["images"][2]
        images[-4] = images[0]
        assert state["images"] is images
        with pytest.raises(IndexError, match="has 4 frames"):
            images[4]
        for one in (state, other):
            click(predictor, one)
        assert same(tracked(predictor, state), tracked(predictor, other))

    @torch.inference_mode()
    def test_features_that_a_script_computes(self, predictor: SAM2VideoPredictor, clip: np.ndarray) -> None:
        expected, state = predictor.init_state(clip[:3]), predictor.init_state(clip[:3])
        features = {}
        for t in range(3):
            picture = state["images"][t][None]
            made = predictor.forward_image(picture)
            features[t] = (picture, {name: list(made[name]) for name in ("backbone_fpn", "vision_pos_enc")})
        state["images"] = [None] * 3
        state["cached_features"] = features
        for one in (expected, state):
            click(predictor, one)
        assert same(tracked(predictor, state), tracked(predictor, expected))

    def test_their_number(self, predictor: SAM2VideoPredictor, clip: np.ndarray) -> None:
        state = predictor.init_state(clip)
        state["num_frames"] = 3
        click(predictor, state)
        assert len(tracked(predictor, state)) == 3
