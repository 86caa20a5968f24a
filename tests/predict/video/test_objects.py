"""Objects do not disturb each other: N together equal each alone, whatever the order of prompts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.predict.video.conftest import make_clip

from samphony.model.base import SAM2Base
from samphony.predict.video import SAM2VideoPredictor, VideoOptions

CLIP = make_clip(8)
Prompt = tuple[int, int, int, int]  # object, frame, x, y

prompts = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 4), st.integers(2, 77), st.integers(2, 45)),
    min_size=1,
    max_size=4,
    unique_by=lambda p: p[:2],
)


def track(model: SAM2Base, given_prompts: list[Prompt], **options: bool) -> dict[tuple[int, int], torch.Tensor]:
    """Logits by (object, frame) after all prompts."""
    predictor = SAM2VideoPredictor(model, VideoOptions(**options))
    state = predictor.init_state(CLIP)
    for obj_id, frame, x, y in given_prompts:
        predictor.add_new_points_or_box(state, frame, obj_id, points=[[x, y]], labels=[1])
    return {
        (obj_id, frame): logits[place]
        for frame, ids, logits in predictor.propagate_in_video(state, start_frame_idx=0)
        for place, obj_id in enumerate(ids)
    }


@pytest.mark.usefixtures("exact_memories")
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompts=prompts)
def test_together_equals_alone(living_model: SAM2Base, prompts: list[Prompt]) -> None:
    together = track(living_model, prompts)
    for obj_id in {p[0] for p in prompts}:
        alone = track(living_model, [p for p in prompts if p[0] == obj_id])
        for (_, frame), logits in alone.items():
            torch.testing.assert_close(together[obj_id, frame], logits, atol=1e-3, rtol=0)


def test_one_call_for_objects_of_equal_layout(living_model: SAM2Base, predictor: SAM2VideoPredictor) -> None:
    state = predictor.init_state(CLIP)
    for obj_id, x in ((1, 20), (2, 40), (3, 60)):
        predictor.add_new_points_or_box(state, 0, obj_id, points=[[x, 20]], labels=[1])
    predictor.add_new_points_or_box(state, 2, "late", points=[[30, 30]], labels=[1])
    batches: list[int] = []
    images: list[int] = []
    hooks = [
        living_model.memory_attention.register_forward_pre_hook(
            lambda module, args, kwargs: batches.append(kwargs["memory"].shape[0]), with_kwargs=True
        ),
        living_model.image_encoder.register_forward_pre_hook(lambda module, args: images.append(len(args[0]))),
    ]
    try:
        frames = [f for f, _, _ in predictor.propagate_in_video(state)]
    finally:
        for hook in hooks:
            hook.remove()
    assert frames == list(range(8))
    assert batches[:4] == [1, 3, 1, 3]  # frame 0: the late one from the future; frame 1: three together, and it
    assert images == [1] * len(images)
    assert len(images) <= 10  # one a frame, and the two prompted frames once more for the memories of prompts


@pytest.mark.usefixtures("exact_memories")
def test_unbatched_option_gives_the_same(living_model: SAM2Base) -> None:
    asked = [(1, 0, 20, 16), (2, 0, 40, 30)]
    one, many = track(living_model, asked, batch_objects=False), track(living_model, asked)
    for key, logits in one.items():
        torch.testing.assert_close(many[key], logits, atol=1e-3, rtol=0)


def test_objects_come_and_go_while_tracking(predictor: SAM2VideoPredictor) -> None:
    state = predictor.init_state(CLIP)
    predictor.add_new_points_or_box(state, 0, 1, points=[[20, 16]], labels=[1])
    seen = {}
    for result in predictor.track(state):
        seen[result.frame_idx] = result.obj_ids
        if result.frame_idx == 2:
            predictor.add_new_points_or_box(state, 2, 2, box=[30, 10, 60, 40])
        if result.frame_idx == 5:
            predictor.remove_object(state, 1)
    assert seen == {0: [1], 1: [1], 2: [1], 3: [1, 2], 4: [1, 2], 5: [1, 2], 6: [2], 7: [2]}


def test_official_generator_keeps_its_objects(predictor: SAM2VideoPredictor) -> None:
    """A prompt between two frames of ``propagate_in_video`` waits for the next pass, as officially."""
    state = predictor.init_state(CLIP)
    predictor.add_new_points_or_box(state, 0, 1, points=[[20, 16]], labels=[1])
    seen = []
    for frame, ids, _ in predictor.propagate_in_video(state):
        seen.append(ids)
        if frame == 2:
            predictor.add_new_points_or_box(state, 2, 2, points=[[40, 20]], labels=[1])
    assert seen == [[1]] * 8
    assert {tuple(ids) for _, ids, _ in predictor.propagate_in_video(state)} == {(1, 2)}


def test_removing_an_object_leaves_the_others_bit_equal(living_model: SAM2Base) -> None:
    predictor = SAM2VideoPredictor(living_model, VideoOptions(batch_objects=False))
    both = predictor.init_state(CLIP)
    alone = predictor.init_state(CLIP)
    for state, ids in ((both, (1, 2)), (alone, (2,))):
        for obj_id in ids:
            predictor.add_new_points_or_box(state, 0, obj_id, points=[[20 * obj_id, 16]], labels=[1])
    for _ in predictor.propagate_in_video(both, max_frame_num_to_track=3):
        pass
    for _ in predictor.propagate_in_video(alone, max_frame_num_to_track=3):
        pass
    ids, updated = predictor.remove_object(both, 1)
    assert ids == [2]
    assert [frame for frame, _ in updated] == [0]
    ends = [list(predictor.propagate_in_video(state, start_frame_idx=4))[-1] for state in (both, alone)]
    assert torch.equal(ends[0][2], ends[1][2])
    assert np.array_equal(ends[0][1], [2])
