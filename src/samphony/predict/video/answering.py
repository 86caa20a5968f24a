"""Prompts in, typed answers out: what the official door and the stream share."""

from __future__ import annotations

from torch import Tensor

from samphony.predict.video.engine import Engine
from samphony.predict.video.memory_bank import Memory
from samphony.predict.video.policies import MemoryPolicy
from samphony.predict.video.propagation import Answers
from samphony.predict.video.results import FrameResult, ObjectResult
from samphony.predict.video.session import VideoSession
from samphony.predict.video.tracked_object import ObjectId, PointPrompt, TrackedObject


def prompt(
    engine: Engine,
    session: VideoSession,
    frame_idx: int,
    obj_id: ObjectId,
    points: PointPrompt | None,
    mask: Tensor | None,
    *,
    add: bool,
    policy: MemoryPolicy,
) -> bool:
    """Answer a prompt and file it as pending; True where its frame becomes a conditioning frame.

    An object that is not known yet joins the session once the network has answered.
    """
    known = session.objects.get(obj_id)
    o = known or session.new_object(obj_id, policy)
    if points is not None and add and frame_idx in o.points:
        points = o.points[frame_idx].extended(points)
    corrects = engine.options.add_all_frames_to_correct_as_cond
    is_first = frame_idx not in o.tracked or (corrects and not o.bank.conditioning)
    is_conditioning = is_first or corrects
    previous = None if points is None else o.latest(frame_idx, is_conditioning)
    memory = engine.segment_prompt(session, o, frame_idx, points, mask, is_first, previous)

    session.remember()
    _file_prompt(o, frame_idx, points, mask)
    o.pending(is_conditioning)[frame_idx] = memory
    session.objects[obj_id] = o
    return is_conditioning


def _file_prompt(o: TrackedObject, frame_idx: int, points: PointPrompt | None, mask: Tensor | None) -> None:
    if points is not None:
        o.points[frame_idx] = points
        o.masks.pop(frame_idx, None)
    elif mask is not None:
        o.masks[frame_idx] = mask
        o.points.pop(frame_idx, None)


def standing_answers(session: VideoSession, frame_idx: int) -> Answers:
    """What each object has on a frame: the last prompt's answer there, else what was tracked; None for neither."""
    return [
        (o, o.pending_corrections.get(frame_idx) or o.latest(frame_idx, is_conditioning=True))
        for o in session.objects.values()
    ]


def frame_result(engine: Engine, session: VideoSession, frame_idx: int, answers: Answers) -> FrameResult:
    """The typed answer of a frame; objects that have not started are left out."""
    known: list[tuple[TrackedObject, Memory]] = [(o, m) for o, m in answers if m is not None]
    logits = engine.video_logits(session, [m for _, m in known])
    objects = tuple(
        ObjectResult(o.obj_id, logits[place, 0], m.low_res_masks[0, 0], float(m.iou), float(m.object_score))
        for place, (o, m) in enumerate(known)
    )
    return FrameResult(frame_idx, objects, logits)
