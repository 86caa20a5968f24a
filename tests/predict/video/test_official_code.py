"""Code that is written against the inside of the official predictor: state dicts made by hand, helpers, subclasses."""

from __future__ import annotations

import types
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from tests.predict.video.test_state_view import click, same, tracked
from torch import Tensor

from samphony.errors import ConfigError, StateError
from samphony.model.base import SAM2Base
from samphony.predict.video import SAM2VideoPredictor, VideoOptions
from samphony.predict.video.engine import Engine
from samphony.predict.video.preprocess import model_input

STATE_KEYS = ("output_dict_per_obj", "temp_output_dict_per_obj", "frames_tracked_per_obj")
INPUT_KEYS = ("point_inputs_per_obj", "mask_inputs_per_obj")


@torch.inference_mode()
def made_by_hand(predictor: SAM2VideoPredictor, clip: np.ndarray, images: Any = None) -> dict[str, Any]:
    """An official state as packages build it, with frames in memory."""
    frames = torch.stack([model_input(frame, predictor.image_size) for frame in clip])
    state: dict[str, Any] = {
        "images": frames if images is None else images,
        "num_frames": len(frames),
        "offload_video_to_cpu": False,
        "offload_state_to_cpu": False,
        "video_height": clip.shape[1],
        "video_width": clip.shape[2],
        "device": predictor.device,
        "storage_device": predictor.device,
        "cached_features": {},
        "constants": {},
        "obj_id_to_idx": OrderedDict(),
        "obj_idx_to_id": OrderedDict(),
        "obj_ids": [],
        **{key: {} for key in (*STATE_KEYS, *INPUT_KEYS)},
    }
    predictor._get_image_feature(state, frame_idx=0, batch_size=1)
    assert list(state["cached_features"]) == [0]
    return state


def propagate_by_hand(predictor: Any, state: Any, frames: range, reverse: bool = False) -> Iterator[tuple[int, Tensor]]:
    """The official loop over the official helpers, as packages repeat it."""
    predictor.propagate_in_video_preflight(state)
    for frame_idx in frames:
        answers = []
        for place in range(predictor._get_obj_num(state)):
            outputs = state["output_dict_per_obj"][place]
            if frame_idx in outputs["cond_frame_outputs"]:
                answers.append(outputs["cond_frame_outputs"][frame_idx]["pred_masks"])
            else:
                record, logits = predictor._run_single_frame_inference(
                    inference_state=state,
                    output_dict=outputs,
                    frame_idx=frame_idx,
                    batch_size=1,
                    is_init_cond_frame=False,
                    point_inputs=None,
                    mask_inputs=None,
                    reverse=reverse,
                    run_mem_encoder=True,
                )
                outputs["non_cond_frame_outputs"][frame_idx] = record
                answers.append(logits)
            state["frames_tracked_per_obj"][place][frame_idx] = {"reverse": reverse}
        yield frame_idx, predictor._get_orig_video_res_output(state, torch.cat(answers))[1]


def close(a: list[Tensor], b: list[Tensor]) -> bool:
    """Whether two passes gave the same numbers but for the order of sums."""
    return len(a) == len(b) and all(torch.allclose(x, y, rtol=0, atol=2e-4) for x, y in zip(a, b, strict=True))


class TestPlainDict:
    def test_gives_the_numbers_of_a_session(self, predictor: SAM2VideoPredictor, clip: np.ndarray) -> None:
        session, state = predictor.init_state(clip[:9]), made_by_hand(predictor, clip[:9])
        for one in (session, state):
            click(predictor, one, obj=7)
            predictor.add_new_mask(one, 2, "b", np.eye(48, 80, dtype=bool))
        assert (state["obj_ids"], dict(state["obj_id_to_idx"])) == ([7, "b"], {7: 0, "b": 1})
        assert state["temp_output_dict_per_obj"][0]["cond_frame_outputs"][0]["maskmem_features"] is None
        assert same(tracked(predictor, state), tracked(predictor, session))
        assert sorted(state["output_dict_per_obj"][0]["non_cond_frame_outputs"]) == list(range(1, 9))
        assert state["frames_tracked_per_obj"][1][8] == {"reverse": False}
        for one in (session, state):
            click(predictor, one, frame=4, obj=7, x=44)
        assert same(tracked(predictor, state, reverse=True), tracked(predictor, session, reverse=True))
        for one in (session, state):
            shown = predictor.clear_all_prompts_in_frame(one, 4, 7)
            assert shown is not None
            assert shown[1] == [7, "b"]
            ids, frames = predictor.remove_object(one, 7)
            assert (ids, [t for t, _ in frames]) == (["b"], [0])
        assert state["obj_idx_to_id"] == {0: "b"}
        assert same(tracked(predictor, state), tracked(predictor, session))
        predictor.reset_state(state)
        assert (state["obj_ids"], state["output_dict_per_obj"], state["point_inputs_per_obj"]) == ([], {}, {})

    def test_frames_in_a_dict_that_grows_and_forgets(self, predictor: SAM2VideoPredictor, clip: np.ndarray) -> None:
        session = predictor.init_state(clip)
        session["num_frames"] = 20
        state = made_by_hand(predictor, clip, images={0: model_input(clip[0], 64)})
        answers = []
        for one in (session, state):
            click(predictor, one)
        for t in range(20):
            state["images"][t] = model_input(clip[t], 64)
            answers += tracked(predictor, state, start_frame_idx=t, max_frame_num_to_track=0)
            old = [k for k in state["output_dict_per_obj"][0]["non_cond_frame_outputs"] if k < t - 15]
            for k in old:
                del state["output_dict_per_obj"][0]["non_cond_frame_outputs"][k], state["images"][k]
        assert len(state["images"]) < 20
        assert same(answers, tracked(predictor, session))

    def test_a_shallow_copy_of_a_session(self, predictor: SAM2VideoPredictor, clip: np.ndarray) -> None:
        session, other = predictor.init_state(clip[:5]), predictor.init_state(clip[:5])
        for one in (session, other):
            click(predictor, one)
        assert same(tracked(predictor, {**session}), tracked(predictor, other))

    def test_what_is_missing_is_said(self, predictor: SAM2VideoPredictor) -> None:
        with pytest.raises(StateError, match="no num_frames, video_height, video_width; make it with init_state"):
            click(predictor, {"images": []})
        with pytest.raises(StateError, match="no images"):
            click(predictor, {"num_frames": 1, "video_height": 4, "video_width": 4})
        with pytest.raises(StateError, match="must be what init_state gives, got list"):
            click(predictor, [])


class TestHelpers:
    @pytest.mark.usefixtures("exact_memories")
    @pytest.mark.parametrize("kind", ["session", "dict"])
    @torch.inference_mode()
    def test_the_official_loop_repeated(self, predictor: SAM2VideoPredictor, clip: np.ndarray, kind: str) -> None:
        clip = clip[:9]  # a last bit grows tenfold in some six frames
        expected = predictor.init_state(clip)
        state = predictor.init_state(clip) if kind == "session" else made_by_hand(predictor, clip)
        for one in (expected, state):
            click(predictor, one)
            click(predictor, one, frame=3, obj=2, x=60)
        by_hand = list(propagate_by_hand(predictor, state, range(9)))
        assert [t for t, _ in by_hand] == list(range(9))
        assert close([logits for _, logits in by_hand], tracked(predictor, expected))
        for one in (expected, state):
            click(predictor, one, frame=6, x=30)
        backward = [logits for _, logits in propagate_by_hand(predictor, state, range(6, 0, -1), reverse=True)]
        expected_back = tracked(predictor, expected, start_frame_idx=6, max_frame_num_to_track=5, reverse=True)
        assert close(backward, expected_back)

    @torch.inference_mode()
    def test_prompting_by_hand(self, predictor: SAM2VideoPredictor, clip: np.ndarray) -> None:
        expected, state = predictor.init_state(clip[:6]), predictor.init_state(clip[:6])
        _, _, answer = click(predictor, expected, obj=5)
        place = predictor._obj_id_to_idx(state, 5)
        assert (place, predictor._obj_idx_to_id(state, 0), predictor._get_obj_num(state)) == (0, 5, 1)
        assert state["obj_ids"] == [5]
        inputs = {
            "point_coords": torch.tensor([[[20 / 80 * 64, 16 / 48 * 64]]]),
            "point_labels": torch.ones(1, 1, dtype=torch.int32),
        }
        record, _ = predictor._run_single_frame_inference(
            state, state["output_dict_per_obj"][place], 0, 1, True, inputs, None, False, False
        )
        state["point_inputs_per_obj"][place][0] = inputs
        state["temp_output_dict_per_obj"][place]["cond_frame_outputs"][0] = record
        shown = predictor._consolidate_temp_output_across_obj(state, 0, is_cond=True, consolidate_at_video_res=True)
        assert torch.allclose(shown["pred_masks_video_res"], answer, atol=1e-4)
        low = predictor._consolidate_temp_output_across_obj(state, 1, is_cond=True)["pred_masks"]
        assert low.shape == (1, 1, 16, 16)
        assert low.unique().tolist() == [-1024.0]
        assert close(tracked(predictor, state), tracked(predictor, expected))
        predictor._reset_tracking_results(state)
        assert state["obj_ids"] == [5]
        with pytest.raises(StateError, match="object id 5"):
            predictor.propagate_in_video_preflight(state)

    @torch.inference_mode()
    def test_memory_made_anew(self, predictor: SAM2VideoPredictor, clip: np.ndarray) -> None:
        state = predictor.init_state(clip[:3])
        click(predictor, state)
        tracked(predictor, state)
        record = state["output_dict_per_obj"][0]["cond_frame_outputs"][0]
        masks = torch.nn.functional.interpolate(record["pred_masks"], size=(64, 64), mode="bilinear")
        features, position = predictor._run_memory_encoder(state, 0, 1, masks, record["object_score_logits"], True)
        assert features is not None
        assert position is not None
        assert torch.allclose(features.float(), record["maskmem_features"].float(), atol=1e-2)
        assert torch.equal(position[-1], record["maskmem_pos_enc"][-1])


class Streaming(SAM2VideoPredictor):
    """As packages derive it: a state of its own, one frame at a time, and a step that says more."""

    def __init__(self, fill_hole_area: int = 0, keep: int = 16, **more: Any) -> None:
        self.keep = keep  # before the base is made, as some do
        self.non_overlap_masks = True  # officially the base sets its own afterwards
        super().__init__(**more)
        self.fill_hole_area = fill_hole_area
        self.seen: list[int] = []

    def init_state(self, video_path: Any, **more: Any) -> Any:
        state = super().init_state(video_path, **more)
        state["scores"] = {}
        return state

    def track_step(self, *args: Any, **kwargs: Any) -> Any:
        self.seen.append(kwargs["frame_idx"])
        return super().track_step(*args, **kwargs)

    def propagate_in_video(self, inference_state: Any, *args: Any, **kwargs: Any) -> Any:
        for t, ids, logits in super().propagate_in_video(inference_state, *args, **kwargs):
            inference_state["scores"][t] = float(logits.max())
            yield t, ids, logits


class TestSubclass:
    @pytest.mark.parametrize("kind", ["session", "dict"])
    def test_its_step_is_used_and_the_numbers_stay(self, living_model: SAM2Base, clip: np.ndarray, kind: str) -> None:
        plain, own = SAM2VideoPredictor(living_model), Streaming(model=living_model, keep=3)
        assert type(plain._engine) is Engine
        assert type(own._engine) is not Engine
        expected = plain.init_state(clip[:8])
        state = own.init_state(clip[:8]) if kind == "session" else made_by_hand(own, clip[:8]) | {"scores": {}}
        answers = []
        for predictor, one in ((plain, expected), (own, state)):
            click(predictor, one)
            predictor.add_new_mask(one, 1, 2, np.eye(48, 80, dtype=bool))
            click(predictor, one, x=24)
            answers.append(tracked(predictor, one))
            click(predictor, one, frame=5, x=50)
            answers.append(tracked(predictor, one, reverse=True, start_frame_idx=6))
        assert close(answers[2], answers[0])
        assert close(answers[3], answers[1])
        # prompts; one object each frame of 0 … 7 but where it was prompted; the correction; 6 … 0 likewise
        expected_steps = [
            0,
            1,
            0,
            *sorted([*range(1, 8), 0, *range(2, 8)]),
            5,
            *sorted([*range(1, 7), 0, *range(2, 7)])[::-1],
        ]
        assert own.seen == expected_steps
        assert sorted(state["scores"]) == list(range(8))
        assert own.keep == 3

    def test_a_frame_is_read_once(
        self, living_model: SAM2Base, clip: np.ndarray, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own = Streaming(model=living_model, keep=3)
        state = own.init_state(clip[:5])
        click(own, state)
        seen: list[int] = []
        read = state.source.read
        monkeypatch.setattr(state.source, "read", lambda index: seen.append(index) or read(index))
        tracked(own, state)
        assert seen == [1, 2, 3, 4]  # the features of frame 0 are there from its prompt

    def test_features_from_elsewhere(self, predictor: SAM2VideoPredictor, clip: np.ndarray) -> None:
        class Shifted(SAM2VideoPredictor):
            """Looks at the frame after."""

            def _get_image_feature(self, inference_state: Any, frame_idx: int, batch_size: int) -> Any:
                return super()._get_image_feature(inference_state, frame_idx + 1, batch_size)

        own, session = Shifted(predictor.model), predictor.init_state(clip[1:6])
        state = own.init_state(clip[:6])
        state["num_frames"] = 5
        for one, its in ((predictor, session), (own, state)):
            click(one, its)
        assert close(tracked(own, state), tracked(predictor, session))

    def test_a_step_put_on_the_instance(self, predictor: SAM2VideoPredictor, clip: np.ndarray) -> None:
        state, expected = predictor.init_state(clip[:3]), predictor.init_state(clip[:3])
        click(predictor, expected)
        official, called = predictor._run_single_frame_inference, []

        def step(self: SAM2VideoPredictor, *args: Any, **kwargs: Any) -> Any:
            record, logits = official(*args, **kwargs)
            called.append(kwargs["frame_idx"])
            return {**record, "note": len(called)}, logits

        numbers = tracked(predictor, expected)
        predictor._run_single_frame_inference = types.MethodType(step, predictor)  # type: ignore[method-assign]
        click(predictor, state)
        assert close(tracked(predictor, state), numbers)
        assert called == [0, 1, 2]
        assert state["output_dict_per_obj"][0]["non_cond_frame_outputs"][2]["note"] == 3

    def test_options(self, living_model: SAM2Base) -> None:
        own = Streaming(model=living_model, fill_hole_area=4, non_overlap_masks=True)
        assert own.options == VideoOptions(fill_hole_area=4, non_overlap_masks=True)
        other = own.with_options(fill_hole_area=0)
        assert (type(other), other.keep, other.fill_hole_area, own.fill_hole_area) == (Streaming, 16, 0, 4)
        with pytest.raises(ConfigError, match="Streaming: unknown arguments colour"):
            Streaming(model=living_model, colour="red")
