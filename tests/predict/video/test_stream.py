"""Live tracking gives the numbers of offline tracking, in flat memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.predict.video.conftest import make_clip

from samphony.errors import MediaError, PromptError, StateError
from samphony.predict.video import SAM2VideoPredictor


@pytest.mark.parametrize(("frames", "known"), [(24, False), (24, True), (7, True)])
def test_stream_equals_offline(repaired: SAM2VideoPredictor, frames: int, known: bool) -> None:
    clip = make_clip(frames)
    state = repaired.init_state(clip)
    repaired.add_new_points_or_box(state, 0, 1, points=[[20, 16]], labels=[1])
    repaired.add_new_points_or_box(state, 0, 2, box=[30, 10, 60, 40])
    offline = [logits for _, _, logits in repaired.propagate_in_video(state)]

    stream = repaired.stream(num_frames=frames if known else None)
    assert len(stream.step(clip[0])) == 0
    stream.prompt(1, points=[[20, 16]], labels=[1])
    first = stream.prompt(2, box=[30, 10, 60, 40])
    live = [first, *(stream.step(frame) for frame in clip[1:])]
    for index, (a, b) in enumerate(zip(offline, live, strict=True)):
        assert b.frame_idx == index
        assert torch.equal(a, b.logits)


def test_length_of_a_short_clip_matters(repaired: SAM2VideoPredictor) -> None:
    """Why ``num_frames`` exists: under 16 frames the time codes of pointers depend on the length."""
    clip = make_clip(6)
    ends = []
    for num_frames in (6, None):
        stream = repaired.stream(num_frames)
        stream.step(clip[0])
        stream.prompt(1, points=[[20, 16]], labels=[1])
        ends.append([stream.step(frame) for frame in clip[1:]][-1].logits)
    assert not torch.equal(*ends)


def test_object_added_later_and_removed(repaired: SAM2VideoPredictor, clip: np.ndarray) -> None:
    stream = repaired.stream()
    stream.step(clip[0])
    stream.prompt("a", points=[[20, 16]], labels=[1])
    stream.step(clip[1])
    assert stream.prompt("b", mask=np.ones((48, 80), bool)).obj_ids == ["a", "b"]
    assert stream.step(clip[2]).obj_ids == ["a", "b"]
    stream.remove("a")
    assert stream.step(clip[3]).obj_ids == ["b"]
    with pytest.raises(StateError, match="'a'"):
        stream.remove("a")


def test_correction_lasts(repaired: SAM2VideoPredictor, clip: np.ndarray) -> None:
    with_it, without = repaired.stream(), repaired.stream()
    for stream in (with_it, without):
        stream.step(clip[0])
        stream.prompt(1, points=[[20, 16]], labels=[1])
        for frame in clip[1:4]:
            stream.step(frame)
    with_it.prompt(1, points=[[60, 40]], labels=[1])
    assert list(with_it.session.objects[1].pending_conditioning) == [3]
    a, b = with_it.step(clip[4]), without.step(clip[4])
    assert not torch.equal(a.logits, b.logits)
    assert sorted(with_it.session.objects[1].bank.conditioning) == [0, 3]


def test_undo_takes_a_correction_back(repaired: SAM2VideoPredictor, clip: np.ndarray) -> None:
    stream = repaired.stream()
    stream.step(clip[0])
    before = stream.prompt(1, points=[[20, 16]], labels=[1])
    stream.prompt(1, points=[[60, 40]], labels=[1])
    stream.undo()
    assert torch.equal(stream.result().logits, before.logits)
    stream.step(clip[1])
    with pytest.raises(StateError, match="no prompt to undo"):
        stream.undo()


def test_memory_stays_flat(repaired: SAM2VideoPredictor) -> None:
    clip = make_clip(40)
    stream = repaired.stream()
    stream.step(clip[0])
    stream.prompt(1, points=[[20, 16]], labels=[1])
    sizes = []
    for frame in clip[1:]:
        stream.step(frame)
        sizes.append(stream.session.archive.resident)
    assert max(sizes[20:]) == min(sizes[20:])


def test_errors(repaired: SAM2VideoPredictor, clip: np.ndarray) -> None:
    stream = repaired.stream()
    with pytest.raises(StateError, match="no frame yet"):
        stream.prompt(1, points=[[1, 1]], labels=[1])
    stream.step(clip[0])
    with pytest.raises(PromptError, match="outside the frame"):
        stream.prompt(1, points=[[500, 1]], labels=[1])
    with pytest.raises(PromptError, match="either a mask"):
        stream.prompt(1)
    with pytest.raises(MediaError, match="one size"):
        stream.step(np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(MediaError, match="frame 1 of the stream"):
        stream.step("not there.jpg")
    with pytest.raises(StateError, match="no prompt to undo"):
        stream.undo()
    assert stream.obj_ids == []
    assert stream.step(clip[1]).frame_idx == 1
