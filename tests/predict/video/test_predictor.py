"""The official door: what its methods return, yield and refuse; where it repairs; how it stands for its model."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.predict.video.conftest import make_clip

from samphony.errors import ConfigError, MediaError, PromptError, StateError
from samphony.media.video_arrays import PictureList
from samphony.model.base import SAM2Base
from samphony.predict.ready import mark_random
from samphony.predict.video import SAM2VideoPredictor, VideoOptions

SHORT = make_clip(8)


def click(predictor: SAM2VideoPredictor, state: Any, frame: int = 0, obj: Any = 1, x: int = 20, **more: Any) -> Any:
    """A click on an object."""
    return predictor.add_new_points_or_box(state, frame, obj, points=[[x, 16]], labels=[1], **more)


def frames(predictor: SAM2VideoPredictor, state: Any, **arguments: Any) -> list[int]:
    """Frames that tracking yields."""
    return [frame for frame, _, _ in predictor.propagate_in_video(state, **arguments)]


class TestTracking:
    def test_answers(self, predictor: SAM2VideoPredictor) -> None:
        state = predictor.init_state(SHORT)
        frame, ids, logits = click(predictor, state, obj=5)
        assert (frame, ids, logits.shape, logits.dtype) == (0, [5], (1, 1, 48, 80), torch.float32)
        click(predictor, state, obj="cat", x=60)
        answers = list(predictor.propagate_in_video(state))
        assert [frame for frame, _, _ in answers] == list(range(8))
        assert all(ids == [5, "cat"] and logits.shape == (2, 1, 48, 80) for _, ids, logits in answers)

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ({}, [2, 3, 4, 5, 6, 7]),
            ({"max_frame_num_to_track": 2}, [2, 3, 4]),
            ({"start_frame_idx": 6, "max_frame_num_to_track": 0}, [6]),
            ({"start_frame_idx": 3, "max_frame_num_to_track": 99}, [3, 4, 5, 6, 7]),
            ({"reverse": True}, [2, 1, 0]),
            ({"reverse": True, "start_frame_idx": 5, "max_frame_num_to_track": 2}, [5, 4, 3]),
            ({"reverse": True, "start_frame_idx": 0}, []),
            ({"start_frame_idx": 99}, []),
        ],
    )
    def test_range_of_frames(
        self, predictor: SAM2VideoPredictor, arguments: dict[str, Any], expected: list[int]
    ) -> None:
        state = predictor.init_state(SHORT)
        click(predictor, state, frame=2)
        assert frames(predictor, state, **arguments) == expected

    def test_typed_answers(self, predictor: SAM2VideoPredictor) -> None:
        state = predictor.init_state(SHORT)
        click(predictor, state)
        predictor.add_new_mask(state, 0, 2, np.zeros((48, 80), bool))
        results = list(predictor.track(state))
        first = results[0]
        assert [r.frame_idx for r in results] == list(range(8))
        assert first.obj_ids == [1, 2]
        assert first[1].mask.shape == (48, 80)
        assert first[2].box is None
        assert not first[2].present
        assert first[2].iou == 1.0
        x0, y0, x1, y1 = first[1].box or (0, 0, 0, 0)
        assert first[1].mask[y0 : y1 + 1, x0 : x1 + 1].sum() == first[1].area > 0
        with pytest.raises(KeyError, match="no object 9"):
            first[9]

    def test_both_directions_equal_two_passes_by_hand(self, living_model: SAM2Base) -> None:
        clip = make_clip(22)
        by_hand = SAM2VideoPredictor(living_model)
        state = by_hand.init_state(clip)
        click(by_hand, state, frame=10)
        forward = list(by_hand.propagate_in_video(state))
        backward = list(by_hand.propagate_in_video(state, start_frame_idx=10, reverse=True))
        expected = {frame: logits for frame, _, logits in [*forward, *backward]}
        for history in ("keep", "window"):
            predictor = SAM2VideoPredictor(living_model, VideoOptions(history=history))  # type: ignore[arg-type]
            state = predictor.init_state(clip)
            click(predictor, state, frame=10)
            found = {r.frame_idx: r.logits for r in predictor.track(state, direction="both")}
            assert list(found) == [*range(10, 22), *range(9, -1, -1)]
            assert all(torch.equal(found[t], expected[t]) for t in expected)

    def test_objects_begin_at_their_own_prompts(self, predictor: SAM2VideoPredictor) -> None:
        state = predictor.init_state(SHORT)
        click(predictor, state, frame=1, obj=1)
        click(predictor, state, frame=4, obj=2)
        seen = [(r.frame_idx, r.obj_ids) for r in predictor.track(state, direction="both")]
        assert seen[:7] == [(t, [1] if t < 4 else [1, 2]) for t in range(1, 8)]
        assert seen[7:] == [(3, [2]), (2, [2]), (1, [1, 2]), (0, [1, 2])]

    def test_limits_of_a_typed_pass(self, predictor: SAM2VideoPredictor) -> None:
        state = predictor.init_state(SHORT)
        click(predictor, state, frame=3)
        assert [r.frame_idx for r in predictor.track(state, direction="both", first=2, last=4)] == [3, 4, 2]
        with pytest.raises(ConfigError, match="sideways"):
            next(predictor.track(state, direction="sideways"))  # type: ignore[arg-type]

    def test_a_pass_left_early_keeps_what_it_tracked(self, predictor: SAM2VideoPredictor) -> None:
        state = predictor.init_state(SHORT)
        click(predictor, state)
        for frame, _, _ in predictor.propagate_in_video(state):
            if frame == 3:
                break
        assert sorted(state.objects[1].bank.tracked_frames) == [1, 2, 3]


class TestPrompts:
    def test_earlier_answer_is_fed_back(self, predictor: SAM2VideoPredictor) -> None:
        """Prompting twice is not the same as once, even with clear_old_points, as officially."""
        state = predictor.init_state(SHORT)
        once = click(predictor, state)[2]
        assert not torch.equal(once, click(predictor, state)[2])

    def test_box_comes_first_and_points_add_up(self, predictor: SAM2VideoPredictor) -> None:
        state = predictor.init_state(SHORT)
        predictor.add_new_points_or_box(state, 0, 1, box=[10, 5, 40, 40], points=[[20, 16]], labels=[1])
        click(predictor, state, clear_old_points=False, x=70)
        assert state.objects[1].points[0].labels.tolist() == [[2, 3, 1, 1]]
        predictor.add_new_mask(state, 0, 1, np.ones((48, 80), bool))
        assert state.objects[1].points == {}
        click(predictor, state)
        assert state.objects[1].masks == {}

    def test_normalised_coordinates(self, predictor: SAM2VideoPredictor) -> None:
        pixels = click(predictor, predictor.init_state(SHORT))[2]
        state = predictor.init_state(SHORT)
        unit = predictor.add_new_points_or_box(state, 0, 1, [[0.25, 1 / 3]], [1], normalize_coords=False)[2]
        torch.testing.assert_close(pixels, unit)

    def test_mask_of_the_models_size_is_not_thresholded(self, predictor: SAM2VideoPredictor) -> None:
        state = predictor.init_state(SHORT)
        predictor.add_new_mask(state, 0, 1, torch.full((64, 64), 0.3))
        assert float(state.objects[1].masks[0].max()) == pytest.approx(0.3)
        predictor.add_new_mask(state, 0, 1, torch.full((32, 32), 0.3))
        assert float(state.objects[1].masks[0].max()) == 0.0

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"points": [[1, 2]]}, "points and labels must be provided together"),
            ({"labels": [1]}, "points and labels must be provided together"),
            ({}, "at least one of points or box"),
            ({"box": [0, 0, 5, 5], "clear_old_points": False}, "box cannot be added to old points"),
            ({"points": [[1, 2, 3]], "labels": [1]}, r"points must be \(N, 2\)"),
            ({"points": [[1, 2]], "labels": [1, 1]}, "one for each of the 1 points"),
            ({"box": [0, 0, 5]}, "box must be"),
            ({"points": [[float("nan"), 2]], "labels": [1]}, "finite"),
            ({"points": [[1, 2]], "labels": [5]}, r"labels must be 1 .* got \[5\]"),
            ({"box": [9, 0, 5, 5]}, "x0 < x1"),
            ({"points": "here", "labels": [1]}, "points must be an array of numbers"),
        ],
    )
    def test_bad_prompts_leave_nothing_behind(
        self, predictor: SAM2VideoPredictor, arguments: dict[str, Any], message: str
    ) -> None:
        state = predictor.init_state(SHORT)
        click(predictor, state, obj=1)
        with pytest.raises(PromptError, match=message):
            predictor.add_new_points_or_box(state, 0, 2, **arguments)
        assert state["obj_ids"] == [1]
        assert len(frames(predictor, state)) == 8

    @pytest.mark.parametrize("frame", [-1, 8, 1.5, True, None])
    def test_frames_outside_the_video(self, predictor: SAM2VideoPredictor, frame: Any) -> None:
        state = predictor.init_state(SHORT)
        with pytest.raises(PromptError, match="frame_idx"):
            click(predictor, state, frame=frame)
        with pytest.raises(PromptError, match="frame_idx"):
            predictor.add_new_mask(state, frame, 1, np.ones((48, 80)))

    @pytest.mark.parametrize("mask", [np.ones((1, 48, 80)), np.ones((0, 5)), torch.full((64, 64), torch.inf)])
    def test_bad_masks(self, predictor: SAM2VideoPredictor, mask: Any) -> None:
        with pytest.raises(PromptError, match="mask"):
            predictor.add_new_mask(predictor.init_state(SHORT), 0, 1, mask)

    def test_points_outside_the_frame_are_taken_as_officially(self, predictor: SAM2VideoPredictor) -> None:
        logits = click(predictor, predictor.init_state(SHORT), x=-50)[2]
        assert torch.isfinite(logits).all()


class TestCorrections:
    def track_and_correct(self, predictor: SAM2VideoPredictor) -> tuple[Any, list[Any], list[Any]]:
        state = predictor.init_state(SHORT)
        click(predictor, state)
        before = list(predictor.propagate_in_video(state))
        click(predictor, state, frame=4, x=60)
        return state, before, list(predictor.propagate_in_video(state))

    def test_officially_a_correction_is_lost(self, predictor: SAM2VideoPredictor) -> None:
        _, before, after = self.track_and_correct(predictor)
        assert all(torch.equal(a[2], b[2]) for a, b in zip(before, after, strict=True))

    def test_with_the_option_it_lasts(self, repaired: SAM2VideoPredictor) -> None:
        state, before, after = self.track_and_correct(repaired)
        assert sorted(state.objects[1].bank.conditioning) == [0, 4]
        assert not torch.equal(before[4][2], after[4][2])
        assert not torch.equal(before[6][2], after[6][2])

    def test_undo_brings_back_exactly_what_was_before(self, repaired: SAM2VideoPredictor) -> None:
        state, before, after = self.track_and_correct(repaired)
        state.undo()
        stored = [state["output_dict_per_obj"][0]["non_cond_frame_outputs"][t]["pred_masks"] for t in range(1, 8)]
        again = list(repaired.propagate_in_video(state))
        assert all(torch.equal(a[2], b[2]) for a, b in zip(before, again, strict=True))
        now = [state["output_dict_per_obj"][0]["non_cond_frame_outputs"][t]["pred_masks"] for t in range(1, 8)]
        assert all(torch.equal(a, b) for a, b in zip(stored, now, strict=True))
        assert not torch.equal(after[6][2], again[6][2])

    def test_undo_of_the_first_prompt_and_of_nothing(self, predictor: SAM2VideoPredictor) -> None:
        state = predictor.init_state(SHORT)
        click(predictor, state)
        state.undo()
        assert state.obj_ids == []
        with pytest.raises(StateError, match="no prompt to undo"):
            state.undo()

    def test_clearing_prompts(self, predictor: SAM2VideoPredictor) -> None:
        state = predictor.init_state(SHORT)
        click(predictor, state)
        frames(predictor, state)
        assert predictor.clear_all_prompts_in_frame(state, 0, 1, need_output=False) is None
        with pytest.raises(StateError, match="for object id 1; please add inputs first"):
            frames(predictor, state)
        with pytest.raises(StateError, match="no conditioning frame left"):
            click(predictor, state, frame=3)
        click(predictor, state, frame=0)
        assert len(frames(predictor, state)) == 8

    def test_with_the_option_a_click_makes_up_for_cleared_prompts(self, repaired: SAM2VideoPredictor) -> None:
        state = repaired.init_state(SHORT)
        click(repaired, state)
        frames(repaired, state)
        repaired.clear_all_prompts_in_frame(state, 0, 1)
        click(repaired, state, frame=3)
        assert frames(repaired, state) == [3, 4, 5, 6, 7]

    def test_clearing_an_unknown_object_creates_none(self, predictor: SAM2VideoPredictor) -> None:
        state = predictor.init_state(SHORT)
        click(predictor, state)
        assert predictor.clear_all_prompts_in_frame(state, 0, 99)[1] == [1]  # type: ignore[index]

    def test_memories_around_prompts_can_be_forgotten(self, living_model: SAM2Base) -> None:
        predictor = SAM2VideoPredictor(living_model, VideoOptions(clear_memory_around_prompts=True))
        state = predictor.init_state(SHORT)
        click(predictor, state)
        frames(predictor, state)
        frames(predictor, state, max_frame_num_to_track=0)
        assert sorted(state.objects[1].bank.tracked_frames) == []

    def test_the_switch_that_crashes_officially(self, predictor: SAM2VideoPredictor) -> None:
        predictor.clear_non_cond_mem_around_input = True
        state = predictor.init_state(SHORT)
        click(predictor, state)
        with pytest.raises(StateError, match="clear_memory_around_prompts"):
            frames(predictor, state)


class TestState:
    def test_reset_and_remove(self, predictor: SAM2VideoPredictor) -> None:
        state = predictor.init_state(SHORT)
        with pytest.raises(StateError, match="for any object; please add inputs first"):
            frames(predictor, state)
        click(predictor, state)
        with pytest.raises(StateError, match="Cannot remove object id 9"):
            predictor.remove_object(state, 9, strict=True)
        assert predictor.remove_object(state, 9) == ([1], [])
        assert predictor.remove_object(state, 1) == ([], [])
        click(predictor, state, obj=3)
        predictor.reset_state(state)
        assert state["obj_ids"] == []

    def test_one_frame_clip_is_finite(self, predictor: SAM2VideoPredictor) -> None:
        state = predictor.init_state(SHORT[:1])
        click(predictor, state)
        assert frames(predictor, state) == [0]
        assert torch.isfinite(click(predictor, state, x=40)[2]).all()

    def test_frames_before_the_first_prompt(self, predictor: SAM2VideoPredictor) -> None:
        state = predictor.init_state(SHORT)
        click(predictor, state, frame=5)
        logits = [x for _, _, x in predictor.propagate_in_video(state, start_frame_idx=0)]
        assert len(logits) == 8
        assert all(bool(torch.isfinite(x).all()) for x in logits)

    def test_a_frame_that_fails_in_the_middle(self, predictor: SAM2VideoPredictor, tmp_path: Path) -> None:
        pictures: list[Any] = list(SHORT)
        pictures[5] = tmp_path / "missing.png"
        state = predictor.init_state(PictureList(pictures))
        click(predictor, state)
        passed = []
        with pytest.raises(MediaError, match="frame 5"):
            passed.extend(frame for frame, _, _ in predictor.propagate_in_video(state))
        assert sorted(state.objects[1].bank.tracked_frames) == [1, 2, 3, 4]
        assert frames(predictor, state, start_frame_idx=6) == [6, 7]

    def test_non_overlapping_masks(self, predictor: SAM2VideoPredictor) -> None:
        predictor.non_overlap_masks = True
        state = predictor.init_state(SHORT)
        predictor.add_new_mask(state, 0, 1, np.ones((48, 80), bool))
        logits = predictor.add_new_mask(state, 0, 2, np.ones((48, 80), bool))[2]
        assert int((logits > 0).sum(dim=0).max()) == 1
        # The official evaluation script makes its own masks disjoint with the predictor's method.
        both = torch.stack([torch.full((1, 2, 2), 3.0), torch.full((1, 2, 2), 4.0)])
        apart = predictor._apply_non_overlapping_constraints(both)
        assert apart[:, 0, 0, 0].tolist() == [-10.0, 4.0]

    def test_random_weights_are_refused(self, fresh_tiny_model: Any) -> None:
        model = fresh_tiny_model()
        mark_random(model)
        predictor = SAM2VideoPredictor(model)
        with pytest.raises(StateError, match="without weights"):
            predictor.init_state(SHORT)
        with pytest.raises(StateError, match="without weights"):
            predictor.stream()


class TestStandsForItsModel:
    def test_attributes_of_the_model(self, living_model: SAM2Base) -> None:
        predictor = SAM2VideoPredictor(living_model)
        assert predictor.image_size == 64
        assert predictor.memory_attention is living_model.memory_attention
        assert predictor.eval() is predictor
        assert predictor.to("cpu") is predictor
        assert set(predictor.state_dict()) == set(living_model.state_dict())
        with pytest.raises(AttributeError):
            predictor.no_such_thing  # noqa: B018

    def test_setting_goes_where_the_attribute_is(self, fresh_tiny_model: Any) -> None:
        predictor = SAM2VideoPredictor(fresh_tiny_model())
        predictor.add_all_frames_to_correct_as_cond = True
        assert predictor.options.add_all_frames_to_correct_as_cond
        predictor.memory_encoder = torch.nn.Identity()
        assert isinstance(predictor.model.memory_encoder, torch.nn.Identity)
        with pytest.raises(ConfigError, match="fill_hole_area"):
            predictor.fill_hole_area = -1


def test_a_predictor_is_copied_as_itself(predictor: SAM2VideoPredictor) -> None:
    """Of its model it offers the attributes, not the ways of copying and pickling."""
    assert not hasattr(predictor, "__setstate__")
    assert hasattr(predictor.model, "__setstate__")
    twin = copy.copy(predictor)
    assert (twin.model, twin.options) == (predictor.model, predictor.options)
    deep = copy.deepcopy(predictor)
    assert deep.model is not predictor.model
    assert deep.image_size == predictor.image_size
