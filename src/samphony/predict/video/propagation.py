"""Walking over the frames: one step, and a pass of many with frames decoded ahead."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import Literal

import torch
from torch import Tensor

from samphony.errors import ConfigError, PromptError, StateError
from samphony.media.video_prefetch import prefetch
from samphony.model.config import SAM2Config
from samphony.predict.video.engine import Engine
from samphony.predict.video.memory_bank import Memory
from samphony.predict.video.session import VideoSession
from samphony.predict.video.tracked_object import TrackedObject

Direction = Literal["forward", "reverse", "both"]
Begin = Literal["anywhere", "prompt", "first prompt"]
"""Where objects begin: on any frame, as officially; at their first prompt in the direction of tracking; or, in reverse,
only before all of their prompts, which is what a forward pass has left over."""

Answers = list[tuple[TrackedObject, Memory | None]]
"""Objects with their memory of a frame; None for one that has not started yet."""


def step(
    engine: Engine,
    session: VideoSession,
    frame_idx: int,
    objects: Sequence[TrackedObject],
    *,
    reverse: bool = False,
    begin: Begin = "anywhere",
    picture: Tensor | None = None,
) -> Answers:
    """Bring objects one frame on.

    Conditioning frames answer with what their prompt gave; other frames are tracked and filed.
    """
    waiting = {id(o) for o in objects if not _started(o, frame_idx, reverse, begin)}
    active = [o for o in objects if id(o) not in waiting]
    engine.track(session, frame_idx, (o for o in active if frame_idx not in o.bank.conditioning), reverse, picture)
    answers: Answers = []
    for o in objects:
        if id(o) in waiting:
            answers.append((o, None))
            continue
        memory = o.bank.any(frame_idx)
        assert memory is not None
        answers.append((o, memory))
        o.tracked[frame_idx] = reverse
        _forget(engine, session, o, frame_idx, reverse)
    return answers


def run_pass(
    engine: Engine,
    session: VideoSession,
    frames: Sequence[int],
    *,
    reverse: bool,
    live: bool,
    begin: Begin,
) -> Iterator[tuple[int, Answers]]:
    """Track over ``frames`` in order, yielding after each.

    live: prompts, new objects and removals made between two frames act on the next one. Otherwise, as officially, the
    objects are those of the beginning and new prompts wait for the next pass. What was tracked is kept when the pass is
    left early, by the caller or by a frame that cannot be decoded.
    """
    objects = list(session.objects.values())

    with closing(_pictures(engine, session, frames)) as pictures:
        for frame_idx, picture in pictures:
            if live:
                objects = list(session.objects.values())
                with torch.inference_mode():
                    engine.encode_pending(session)
                objects = [o for o in objects if o.bank.conditioning]
            else:
                objects = [o for o in objects if session.objects.get(o.obj_id) is o]
            with torch.inference_mode():
                answers = step(
                    engine,
                    session,
                    frame_idx,
                    objects,
                    reverse=reverse,
                    begin=begin,
                    picture=picture,
                )
            yield frame_idx, answers


def _pictures(
    engine: Engine, session: VideoSession, frames: Sequence[int]
) -> Generator[tuple[int, Tensor | None], None, None]:
    """Frames with their pictures, decoded ahead; None where they are read when due, so that none is decoded twice."""
    if session.images is not None or not engine.takes_pictures:
        for frame_idx in frames:
            yield frame_idx, None
        return

    def load(frame_idx: int) -> tuple[int, Tensor]:
        return frame_idx, session.picture(frame_idx)

    with closing(prefetch(load, frames)) as pictures:
        yield from pictures


def prepare(engine: Engine, session: VideoSession) -> None:
    """Make memories of all pending prompts. Raises :class:`StateError` where there is nothing to track."""
    if not session.objects:
        raise StateError("No input points or masks are provided for any object; please add inputs first.")
    with torch.inference_mode():
        engine.encode_pending(session)
    for o in session.objects.values():
        if not o.bank.conditioning:
            raise StateError(
                f"No input points or masks are provided for object id {o.obj_id}; please add inputs first."
            )


def frame_range(session: VideoSession, start: int | None, max_frames: int | None, reverse: bool) -> Sequence[int]:
    """Frames of a pass, by the official rules: ``max_frames`` more than the first, none in reverse from frame 0."""
    count = session.length
    if start is None:
        start = min(max(t, 0) for o in session.objects.values() for t in o.bank.conditioning)
    elif start < 0:
        raise PromptError(f"start_frame_idx must be 0 … {count - 1}, got {start}")
    if max_frames is None:
        max_frames = count
    if not reverse:
        return range(start, min(start + max_frames, count - 1) + 1)
    return range(start, max(start - max_frames, 0) - 1, -1) if start > 0 else range(0)


def passes(
    session: VideoSession, direction: Direction, start: int | None, first: int, last: int, start_at_prompt: bool
) -> list[tuple[bool, range, Begin]]:
    """(reverse, frames, where objects begin) of each pass over the frames ``first`` … ``last``."""
    if direction not in ("forward", "reverse", "both"):
        raise ConfigError(f"direction must be 'forward', 'reverse' or 'both', got {direction!r}")
    if first > last:
        raise PromptError(f"the first frame to track, {first}, lies behind the last, {last}")
    prompted = [[max(t, 0) for t in o.bank.conditioning] for o in session.objects.values()]
    begin: Begin = "prompt" if start_at_prompt else "anywhere"

    def inside(t: int) -> int:
        return min(max(t, first), last)

    forward = inside(min(map(min, prompted)) if start is None else start)
    backward = inside(max(map(max, prompted)) if start is None else start)
    if direction == "forward":
        return [(False, range(forward, last + 1), begin)]
    if direction == "reverse":
        return [(True, range(backward, first - 1, -1), begin)]
    if start is None:
        # What the forward pass leaves over: for each object, the frames before its first prompt.
        backward = inside(max(map(min, prompted)))
        begin_back: Begin = "first prompt" if start_at_prompt else "anywhere"
    else:
        begin_back = begin
    return [
        (False, range(forward, last + 1), begin),
        (True, range(backward - 1, first - 1, -1), begin_back),
    ]


def pin(session: VideoSession, config: SAM2Config, start: int | None) -> None:
    """Keep the memories that a backward pass will read after the forward one has gone by."""
    for o in session.objects.values():
        t = min(o.bank.conditioning) if start is None else start
        reach = o.policy.reach(config)
        o.pinned = range(t, t + max(reach.features, reach.pointers) + 1)


def _started(o: TrackedObject, frame_idx: int, reverse: bool, begin: Begin) -> bool:
    prompted = o.bank.conditioning
    if begin == "anywhere":
        return True
    if not reverse:
        return frame_idx >= min(prompted)
    return frame_idx <= (max(prompted) if begin == "prompt" else min(prompted))


def _forget(engine: Engine, session: VideoSession, o: TrackedObject, frame_idx: int, reverse: bool) -> None:
    config, options = engine.model.config, engine.options
    if options.clear_memory_around_prompts and frame_idx in o.bank.conditioning:
        around = config.memory_temporal_stride_for_eval * config.num_maskmem
        for t in range(frame_idx - around, frame_idx + around + 1):
            o.bank.drop_tracked(t)
    if options.history == "window":
        reach = o.policy.reach(config)
        o.bank.keep_window(frame_idx, reverse, **reach._asdict(), pinned=o.pinned)
