"""The two decisions that papers keep changing: which memories are recalled, and which of three masks is kept.

A policy is a frozen record of parameters with two methods; what it needs to know of the past it reads from the object's
bank, so that tracking backwards, undo and saved sessions need nothing special. This module holds the official policy;
``policy_ideas.py`` holds three from the literature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from samphony.model.config import SAM2Config
from samphony.predict.video.memory_bank import MemoryBank


@dataclass(frozen=True)
class Moment:
    """The frame that is about to be tracked. ``num_frames`` is the length of the video, None where it is not known."""

    frame_idx: int
    reverse: bool
    num_frames: int | None
    config: SAM2Config

    def back(self, distance: int) -> int:
        """The frame ``distance`` frames earlier in the direction of tracking."""
        return self.frame_idx + distance if self.reverse else self.frame_idx - distance

    @property
    def max_pointers(self) -> int:
        """P: how far back pointers are recalled, plus one. Short videos have fewer, which changes the time codes."""
        limit = self.config.max_obj_ptrs_in_encoder
        return limit if self.num_frames is None else min(self.num_frames, limit)


@dataclass(frozen=True)
class Selection:
    """Frames to recall, in order: (frame, t_pos) of spatial memories and (frame, offset) of pointers."""

    spatial: tuple[tuple[int, int], ...]
    pointers: tuple[tuple[int, float], ...]
    max_offset: int

    @property
    def layout(self) -> tuple[tuple[int, ...], tuple[float, ...], int]:
        """Objects of equal layout can be stacked."""
        return tuple(t for _, t in self.spatial), tuple(d for _, d in self.pointers), self.max_offset


class Reach(NamedTuple):
    """Frames back of memories with features, and of pointers and masks; how many marked frames, whatever their age."""

    features: int
    pointers: int
    marked: int = 0


@dataclass(frozen=True)
class Candidates:
    """The masks of one object on one frame: logits (M,4h,4w), predicted IoU (M,), object score (1,) logit."""

    low_res_masks: Tensor
    ious: Tensor
    object_score: Tensor


@dataclass(frozen=True)
class Choice:
    """Index of the mask that is kept, and a mark on the memory (0: none) that ``recall`` can use later."""

    index: int
    mark: float = 0.0


@dataclass(frozen=True)
class MemoryPolicy:
    """The official rules: prompted frames, the six frames before, and up to fifteen pointers; the mask of best IoU."""

    def recall(self, bank: MemoryBank, moment: Moment) -> Selection:
        """Which memories the frame is conditioned on."""
        selected = select_conditioning(tuple(bank.conditioning), moment)
        spatial = [(t, 0) for t in selected]
        spatial += self.recent(bank, moment, selected)
        pointers = []
        if moment.config.use_obj_ptrs_in_encoder:
            pointers += conditioning_pointers(selected, moment)
            pointers += recent_pointers(bank, moment, selected)
        return Selection(tuple(spatial), tuple(pointers), moment.max_pointers - 1)

    def recent(self, bank: MemoryBank, moment: Moment, selected: Sequence[int]) -> list[tuple[int, int]]:
        """(frame, t_pos) of the memories of recent frames, oldest first; frames without one are passed over."""
        config = moment.config
        found = []
        for t_pos in range(1, config.num_maskmem):
            t = frame_at(moment, config.num_maskmem - t_pos)
            if recallable(bank, t, selected):
                found.append((t, t_pos))
        return found

    def choose(self, candidates: Candidates, bank: MemoryBank, moment: Moment) -> Choice:
        """Which mask is kept."""
        return Choice(int(candidates.ious.argmax()))

    def reach(self, config: SAM2Config) -> Reach:
        """How far back :meth:`recall` and :meth:`choose` read, at most: what is older can be forgotten."""
        stride = config.memory_temporal_stride_for_eval
        return Reach(1 + max(0, config.num_maskmem - 2) * stride, config.max_obj_ptrs_in_encoder - 1)


OFFICIAL = MemoryPolicy()


def frame_at(moment: Moment, t_rel: int) -> int:
    """The frame of the memory ``t_rel`` places back: the frame just before, then every stride-th frame."""
    f, r = moment.frame_idx, moment.config.memory_temporal_stride_for_eval
    if t_rel == 1:
        return moment.back(1)
    if moment.reverse:
        return -(-(f + 2) // r) * r + (t_rel - 2) * r
    return (f - 2) // r * r - (t_rel - 2) * r


def recallable(bank: MemoryBank, t: int, selected: Sequence[int]) -> bool:
    """Whether frame ``t`` has a memory that is not recalled as a conditioning frame already."""
    return t in bank.tracked_frames or (t in bank.conditioning and t not in selected)


def select_conditioning(frames: Sequence[int], moment: Moment) -> list[int]:
    """Conditioning frames to recall: all in order of prompting, or the nearest ones where there is a limit."""
    limit, f = moment.config.max_cond_frames_in_attn, moment.frame_idx
    if limit < 0 or len(frames) <= limit:
        return list(frames)
    before = max((t for t in frames if t < f), default=None)
    after = min((t for t in frames if t >= f), default=None)
    selected = [t for t in (before, after) if t is not None]
    rest = sorted((t for t in frames if t not in selected), key=lambda t: abs(t - f))
    return selected + rest[: max(0, limit - len(selected))]


def conditioning_pointers(selected: Sequence[int], moment: Moment) -> list[tuple[int, float]]:
    """(frame, offset) of the pointers of conditioning frames: only from the past, where the model says so."""
    config, f = moment.config, moment.frame_idx
    sign = -1 if moment.reverse else 1
    past = [t for t in selected if (f - t) * sign >= 0 or not config.only_obj_ptrs_in_the_past_for_eval]
    signed = config.use_signed_tpos_enc_to_obj_ptrs
    return [(t, float((f - t) * sign if signed else abs(f - t))) for t in past]


def recent_pointers(bank: MemoryBank, moment: Moment, selected: Sequence[int]) -> list[tuple[int, float]]:
    """(frame, offset) of the pointers of recent frames, nearest first, up to the edge of the video."""
    found = []
    for distance in range(1, moment.max_pointers):
        t = moment.back(distance)
        if t < 0 or (moment.num_frames is not None and t >= moment.num_frames):
            break
        if recallable(bank, t, selected):
            found.append((t, float(distance)))
    return found
