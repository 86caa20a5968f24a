"""The two seams: which memories are recalled, and which mask is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.predict.video.conftest import make_clip

from samphony.model.base import SAM2Base
from samphony.model.config import MODELS
from samphony.predict.video import SAM2VideoPredictor, VideoOptions
from samphony.predict.video.memory_bank import Memory, MemoryBank
from samphony.predict.video.policies import OFFICIAL, Candidates, MemoryPolicy, Moment
from samphony.predict.video.policy_ideas import DistractorAware, MotionAware, ScoreGated

CONFIG = MODELS["tiny"]


def square(x: int, y: int = 4, side: int = 4, size: int = 32) -> torch.Tensor:
    """Logits (size,size) of a square."""
    logits = torch.full((size, size), -5.0)
    logits[y : y + side, x : x + side] = 5.0
    return logits


def memory(t: int, *, score: float = 5.0, iou: float = 0.9, x: int = 4, mark: float = 0.0) -> Memory:
    """A memory of a square at ``x``."""
    one = torch.zeros(1, 2, 2, 2)
    return Memory(
        t, square(x)[None, None], torch.zeros(1, 4), torch.tensor([[score]]), torch.tensor([iou]), one, one, mark
    )


def bank(*tracked: Memory, prompted: tuple[int, ...] = (0,)) -> MemoryBank:
    """A bank with conditioning frames and tracked ones."""
    made = MemoryBank({})
    for t in prompted:
        made.conditioning[t] = memory(t)
    for m in tracked:
        made.put_tracked(m)
    return made


def at(t: int, reverse: bool = False, num_frames: int | None = 100, **config: int) -> Moment:
    """A moment of a tiny model, with some of its configuration changed."""
    return Moment(t, reverse, num_frames, replace(CONFIG, **config))


class TestOfficial:
    def test_six_frames_back_and_fifteen_pointers(self) -> None:
        chosen = OFFICIAL.recall(bank(*(memory(t) for t in range(1, 30))), at(30))
        assert chosen.spatial == ((0, 0), *((t, t - 23) for t in range(24, 30)))
        assert chosen.pointers == ((0, 30.0), *((30 - d, float(d)) for d in range(1, 16)))
        assert chosen.max_offset == 15

    def test_reverse_reads_the_other_side(self) -> None:
        chosen = OFFICIAL.recall(bank(*(memory(t) for t in range(10, 20)), prompted=(20, 5)), at(9, reverse=True))
        assert chosen.spatial == ((20, 0), (5, 0), *((9 + t, 7 - t) for t in range(6, 0, -1)))
        assert chosen.pointers[0] == (20, 11.0)
        assert 5 not in [t for t, _ in chosen.pointers]

    def test_gaps_are_passed_over(self) -> None:
        chosen = OFFICIAL.recall(bank(memory(7), memory(9)), at(10))
        assert chosen.spatial == ((0, 0), (7, 4), (9, 6))

    @pytest.mark.parametrize(
        ("reverse", "expected"), [(False, [6, 9, 12, 15, 18, 19]), (True, [36, 33, 30, 27, 24, 21])]
    )
    def test_stride(self, reverse: bool, expected: list[int]) -> None:
        everything = bank(*(memory(t) for t in range(60) if t != 20), prompted=(0,))
        chosen = OFFICIAL.recall(everything, at(20, reverse, memory_temporal_stride_for_eval=3))
        assert [t for t, t_pos in chosen.spatial if t_pos] == expected

    def test_limit_of_conditioning_frames(self) -> None:
        chosen = OFFICIAL.recall(bank(prompted=(3, 30, 12, 20)), at(14, max_cond_frames_in_attn=3))
        assert [t for t, t_pos in chosen.spatial if t_pos == 0] == [12, 20, 3]

    def test_short_clip_has_fewer_pointers(self) -> None:
        chosen = OFFICIAL.recall(bank(*(memory(t) for t in range(1, 6))), at(6, num_frames=8))
        assert chosen.max_offset == 7

    def test_unknown_length_counts_as_long(self) -> None:
        assert OFFICIAL.recall(bank(memory(1)), at(2, num_frames=None)).max_offset == 15


class TestScoreGated:
    def test_occluded_frames_are_not_recalled(self) -> None:
        hidden = [memory(t, score=-4.0) for t in range(10, 20)]
        seen = [memory(t) for t in range(1, 10)]
        known, moment = bank(*seen, *hidden), at(20)
        assert [t for t, _ in OFFICIAL.recall(known, moment).spatial] == [0, 14, 15, 16, 17, 18, 19]
        gated = ScoreGated().recall(known, moment)
        assert gated.spatial == ((0, 0), (5, 1), (6, 2), (7, 3), (8, 4), (9, 5), (19, 6))

    def test_equals_official_while_the_object_is_seen(self) -> None:
        known, moment = bank(*(memory(t) for t in range(1, 20))), at(20)
        assert ScoreGated().recall(known, moment) == OFFICIAL.recall(known, moment)


class TestMotionAware:
    def test_follows_the_line_of_motion(self) -> None:
        """A look-alike with a slightly higher IoU appears where the object cannot be."""
        known = bank(*(memory(t, x=2 + t) for t in range(1, 11)))
        there, elsewhere = square(13), square(26, 24)
        candidates = Candidates(
            torch.stack([elsewhere, there, square(0)]), torch.tensor([0.9, 0.85, 0.2]), torch.tensor([4.0])
        )
        assert OFFICIAL.choose(candidates, known, at(11)).index == 0
        assert MotionAware().choose(candidates, known, at(11)).index == 1

    def test_expected_box(self) -> None:
        known = bank(*(memory(t, x=2 + t) for t in range(1, 11)))
        assert MotionAware().expected_box(known, at(11)) == pytest.approx((13, 4, 17, 8))
        assert MotionAware().expected_box(bank(memory(1)), at(2)) is None


class TestDistractorAware:
    def candidates(self, rival: bool) -> Candidates:
        other = torch.maximum(square(4), square(26, 24)) if rival else square(4)
        return Candidates(torch.stack([square(4), other, other]), torch.tensor([0.9, 0.5, 0.4]), torch.tensor([4.0]))

    def test_marks_a_frame_with_a_look_alike(self) -> None:
        known = bank(*(memory(t) for t in range(1, 11)))
        policy = DistractorAware()
        assert policy.choose(self.candidates(True), known, at(11)).mark == 1.0
        assert policy.choose(self.candidates(False), known, at(11)).mark == 0.0
        known.put_tracked(memory(11, mark=1.0))
        assert policy.choose(self.candidates(True), known, at(13)).mark == 0.0  # too soon after the last

    def test_anchors_are_recalled_like_prompts(self) -> None:
        known = bank(*(memory(t, mark=float(t == 4)) for t in range(1, 40)))
        chosen = DistractorAware().recall(known, at(40))
        assert chosen.spatial == ((0, 0), (4, 0), (30, 4), (35, 5), (39, 6))

    def test_frames_without_the_object_are_not_recalled(self) -> None:
        known = bank(*(memory(t, score=-1.0 if t >= 33 else 5.0) for t in range(1, 40)))
        assert DistractorAware().recall(known, at(40)).spatial == ((0, 0), (20, 4), (25, 5), (30, 6))

    def test_anchors_survive_the_window(self) -> None:
        known = bank(*(memory(t, mark=float(t in (2, 4, 6, 8))) for t in range(1, 60)))
        known.keep_window(59, False, **DistractorAware().reach(CONFIG)._asdict())
        assert sorted(known.marked_frames) == [4, 6, 8]
        assert min(t for t in known.tracked_frames if t not in known.marked_frames) == 59 - 36


@pytest.mark.parametrize(
    "policy", [ScoreGated(min_score=0.99), MotionAware(weight=0.95, fit=3), DistractorAware(max_ratio=0.99)]
)
def test_policies_change_a_clip_and_stay_exact_in_bounded_memory(living_model: SAM2Base, policy: MemoryPolicy) -> None:
    clip = make_clip(18)

    def run(policy: MemoryPolicy, history: str) -> list[torch.Tensor]:
        predictor = SAM2VideoPredictor(living_model, VideoOptions(history=history), policy)  # type: ignore[arg-type]
        state = predictor.init_state(clip)
        predictor.add_new_points_or_box(state, 0, 1, points=[[20, 16]], labels=[1])
        return [logits for _, _, logits in predictor.propagate_in_video(state)]

    kept, bounded = run(policy, "keep"), run(policy, "window")
    assert all(torch.equal(a, b) for a, b in zip(kept, bounded, strict=True))
    official = run(OFFICIAL, "keep")
    assert np.isfinite([float(x.abs().max()) for x in kept]).all()
    assert not all(torch.equal(a, b) for a, b in zip(kept, official, strict=True))
