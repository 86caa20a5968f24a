"""The video door: the official methods and signatures, and beside them typed ones."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from samphony.errors import ConfigError, StateError
from samphony.media.video import open_video
from samphony.model.base import SAM2Base
from samphony.predict.ready import require_weights
from samphony.predict.video.answering import frame_result, prompt, standing_answers
from samphony.predict.video.engine import Engine
from samphony.predict.video.official_engine import OfficialEngine, overrides_a_step
from samphony.predict.video.official_helpers import OfficialHelpers, State
from samphony.predict.video.options import VideoOptions
from samphony.predict.video.policies import OFFICIAL, MemoryPolicy
from samphony.predict.video.prompts import check_frame, mask_prompt, point_prompt
from samphony.predict.video.propagation import Begin, Direction, frame_range, passes, pin, prepare, run_pass
from samphony.predict.video.results import FrameResult
from samphony.predict.video.saving import load_session, refer, save_session
from samphony.predict.video.session import VideoSession
from samphony.predict.video.state_session import session_of
from samphony.predict.video.state_view import hand_over
from samphony.predict.video.stream import VideoStream
from samphony.predict.video.tracked_object import ObjectId, PointPrompt

if TYPE_CHECKING:
    from typing_extensions import Self

_OPTIONS = frozenset(f.name for f in fields(VideoOptions))
_RETURNS_MODEL = frozenset({"to", "eval", "train", "cuda", "cpu", "float", "half", "bfloat16", "requires_grad_"})

Official = tuple[int, list[ObjectId], Tensor]
"""(frame index, object ids, logits (N,1,H,W) at the video's size)."""


class SAM2VideoPredictor(OfficialHelpers):
    """Track objects through a video.

    Every attribute of the network can be reached through the predictor (``predictor.image_encoder``,
    ``predictor.load_state_dict``), and every option read and set (``predictor.non_overlap_masks = True``).

    Subclasses may override any public method and any of the official steps (``_get_image_feature``, ``track_step``, …):
    frames then go through those. ``inference_state`` is what :meth:`init_state` gives, or a dict of the official keys.

    Args:
        model: the network.
        options: behaviour; the defaults give the official numbers.
        policy: which memories are recalled and which mask is kept, for all objects without one of their own.
        changes: fields of :class:`VideoOptions`, set on top of ``options``.
    """

    model: SAM2Base
    options: VideoOptions
    policy: MemoryPolicy

    def __init__(
        self, model: SAM2Base, options: VideoOptions | None = None, policy: MemoryPolicy = OFFICIAL, **changes: Any
    ) -> None:
        unknown = sorted(changes.keys() - _OPTIONS)
        if unknown:
            raise ConfigError(f"{type(self).__name__}: unknown arguments {', '.join(unknown)}")
        options = replace(options or VideoOptions(), **changes)
        for name, value in (("model", model), ("options", options), ("policy", policy)):
            object.__setattr__(self, name, value)

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> SAM2VideoPredictor:
        """The predictor of a released model, by its id on the Hugging Face hub or its short name."""
        from samphony.predict.build import build_sam2_video_predictor_hf

        return build_sam2_video_predictor_hf(model_id, **kwargs)

    # The predictor stands for its model and its options

    def __getattr__(self, name: str) -> Any:
        if name in {"model", "options", "policy"} or name.startswith("__"):  # the model's own ways of being copied
            raise AttributeError(name)
        if name in _OPTIONS:
            return getattr(self.options, name)
        value = getattr(self.model, name)
        if name in _RETURNS_MODEL:

            def call(*args: Any, **kwargs: Any) -> SAM2VideoPredictor:
                value(*args, **kwargs)
                return self

            return call
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if "model" not in vars(self):  # a subclass, before it calls our __init__, which then decides on the options
            if name not in _OPTIONS:
                object.__setattr__(self, name, value)
        elif name in _OPTIONS:
            self.options = replace(self.options, **{name: value})
        elif name in {"model", "options", "policy"} or hasattr(type(self), name) or not hasattr(self.model, name):
            object.__setattr__(self, name, value)
        else:
            setattr(self.model, name, value)

    def with_options(self, **options: Any) -> Self:
        """A predictor over the same network with some options changed."""
        other = copy.copy(self)
        object.__setattr__(other, "options", replace(self.options, **options))
        return other

    @property
    def _engine(self) -> Engine:
        return OfficialEngine(self) if overrides_a_step(self) else Engine(self.model, self.options)

    def _session(self, inference_state: State) -> VideoSession:
        session = session_of(inference_state, self.model.device, self.model.image_size, self.policy)
        if overrides_a_step(self):
            hand_over(session)
        return session

    # Sessions

    @torch.inference_mode()
    def init_state(
        self,
        video_path: Any,
        offload_video_to_cpu: bool = False,
        offload_state_to_cpu: bool = False,
        async_loading_frames: bool = False,
        *,
        reference: VideoSession | None = None,
    ) -> VideoSession:
        """Open a video.

        Args:
            video_path: anything that :func:`samphony.media.video.open_video` reads.
            offload_video_to_cpu: frames are always decoded on demand in RAM; the flag is kept in the state.
            offload_state_to_cpu: keep memories in RAM instead of the model's device.
            async_loading_frames: accepted for compatibility; frames are always decoded ahead by a thread.
            reference: a session of another video, whose prompted frames show the objects to look for in this one.
        """
        require_weights(self.model)
        source = open_video(video_path)
        session = VideoSession(
            source,
            len(source),
            self.options,
            self.model.device,
            self.model.image_size,
            offload_video_to_cpu,
            offload_state_to_cpu,
        )
        if reference is not None:
            self._engine.encode_pending(reference)
            refer(session, reference)
        return session

    def save_session(self, session: VideoSession, path: str | os.PathLike[str]) -> None:
        """Write prompts, memories and masks to ``path`` (.json) and a .safetensors file beside it."""
        save_session(session, self.model, Path(path))

    def load_session(self, path: str | os.PathLike[str], video_path: Any, **kwargs: Any) -> VideoSession:
        """Open a video with what :meth:`save_session` wrote; tracking goes on with the same numbers.

        Raises:
            CheckpointError: the files cannot be read, or are of another model or video.
        """
        session = self.init_state(video_path, **kwargs)
        load_session(session, self.model, Path(path), self.policy)
        return session

    def stream(self, num_frames: int | None = None, **options: Any) -> VideoStream:
        """A live session: frames are given one at a time and answered at once.

        Args:
            num_frames: length of the video, where it is known. It changes the numbers only below 16 frames.
            options: changes to :class:`VideoOptions`, of which streams by default set ``history="window"`` and
                ``add_all_frames_to_correct_as_cond=True``.
        """
        require_weights(self.model)
        live: dict[str, Any] = {"history": "window", "add_all_frames_to_correct_as_cond": True, **options}
        return VideoStream(Engine(self.model, replace(self.options, **live)), self.policy, num_frames)

    # Prompts

    @torch.inference_mode()
    def add_new_points_or_box(
        self,
        inference_state: State,
        frame_idx: int,
        obj_id: ObjectId,
        points: Any = None,
        labels: Any = None,
        clear_old_points: bool = True,
        normalize_coords: bool = True,
        box: Any = None,
    ) -> Official:
        """Click on an object, or draw a box around it.

        Args:
            points: (N,2) x, y in pixels of the video; outside the frame is accepted, as officially.
            labels: (N,) 1 inside, 0 outside the object.
            clear_old_points: replace the earlier clicks on this frame instead of adding to them.
            normalize_coords: False where coordinates are in 0…1.
            box: x0, y0, x1, y1 in pixels.

        Returns:
            (frame_idx, ids of all objects, their logits (N,1,H,W)).

        Raises:
            PromptError: a prompt that cannot be used; the session is left as it was.
        """
        session = self._session(inference_state)
        frame_idx = check_frame(session, frame_idx)
        given = point_prompt(
            session,
            points,
            labels,
            box,
            clear_old_points=clear_old_points,
            normalize_coords=normalize_coords,
        )
        return self._prompt(session, frame_idx, obj_id, given, None, add=not clear_old_points)

    def add_new_points(self, *args: Any, **kwargs: Any) -> Official:
        """Old name of :meth:`add_new_points_or_box`."""
        return self.add_new_points_or_box(*args, **kwargs)

    @torch.inference_mode()
    def add_new_mask(self, inference_state: State, frame_idx: int, obj_id: ObjectId, mask: Any) -> Official:
        """Give an object's mask (H,W) on a frame; any size, stretched to the model's input.

        Returns and raises as :meth:`add_new_points_or_box`.
        """
        session = self._session(inference_state)
        frame_idx = check_frame(session, frame_idx)
        return self._prompt(session, frame_idx, obj_id, None, mask_prompt(session, mask))

    def _prompt(
        self,
        session: VideoSession,
        frame_idx: int,
        obj_id: ObjectId,
        points: PointPrompt | None,
        mask: Tensor | None,
        add: bool = False,
    ) -> Official:
        is_conditioning = prompt(self._engine, session, frame_idx, obj_id, points, mask, add=add, policy=self.policy)
        return self._answer(session, frame_idx, is_conditioning)

    def _answer(self, session: VideoSession, frame_idx: int, is_conditioning: bool) -> Official:
        memories = [o.latest(frame_idx, is_conditioning) for o in session.objects.values()]
        return frame_idx, session.obj_ids, self._engine.video_logits(session, memories)

    @torch.inference_mode()
    def clear_all_prompts_in_frame(
        self, inference_state: State, frame_idx: int, obj_id: ObjectId, need_output: bool = True
    ) -> Official | None:
        """Remove an object's prompts on a frame; what they gave becomes an ordinary tracked memory.

        An id that does not exist changes nothing (officially it would create an object that cannot be tracked).
        """
        session = self._session(inference_state)
        frame_idx = check_frame(session, frame_idx)
        o = session.objects.get(obj_id)
        if o is not None:
            session.remember()
            o.clear_prompts(frame_idx)
        return self._shown(session, frame_idx) if need_output else None

    def _shown(self, session: VideoSession, frame_idx: int) -> Official:
        is_conditioning = any(frame_idx in o.pending_conditioning for o in session.objects.values())
        return self._answer(session, frame_idx, is_conditioning)

    @torch.inference_mode()
    def remove_object(
        self, inference_state: State, obj_id: ObjectId, strict: bool = False, need_output: bool = True
    ) -> tuple[list[ObjectId], list[tuple[int, Tensor]]]:
        """Forget an object.

        Returns:
            (remaining ids, [(frame, logits (N,1,H,W)) for each frame on which the object had prompts]).

        Raises:
            StateError: the id does not exist, and ``strict`` is set.
        """
        session = self._session(inference_state)
        if obj_id not in session.objects:
            if strict:
                raise StateError(
                    f"Cannot remove object id {obj_id} as it doesn't exist. All existing object ids: {session.obj_ids}."
                )
            return session.obj_ids, []
        session.remember()
        frames = session.objects[obj_id].prompted_frames
        del session.objects[obj_id]
        if not session.objects or not need_output:
            return session.obj_ids, []
        return session.obj_ids, [(t, self._shown(session, t)[2]) for t in frames]

    def reset_state(self, inference_state: State) -> None:
        """Forget all objects; the video stays open."""
        session = self._session(inference_state)
        session.remember()
        session.reset()

    # Tracking

    def propagate_in_video_preflight(self, inference_state: State) -> None:
        """Make memories of the prompts; tracking does it by itself."""
        self._check_options()
        prepare(self._engine, self._session(inference_state))

    def propagate_in_video(
        self,
        inference_state: State,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Official]:
        """Track all objects and yield (frame_idx, ids, logits (N,1,H,W)) for each frame.

        Args:
            start_frame_idx: the earliest prompted frame by default, also in reverse.
            max_frame_num_to_track: frames beyond the first, so that n gives n + 1 frames; all by default.
            reverse: towards the start; from frame 0 nothing is yielded.

        Raises:
            StateError: there is nothing to track.
            MediaError: a frame cannot be decoded. What was tracked is kept; go on behind it with ``start_frame_idx``.
        """
        self.propagate_in_video_preflight(inference_state)
        session, engine = self._session(inference_state), self._engine
        frames = frame_range(session, start_frame_idx, max_frame_num_to_track, reverse)
        for frame_idx, answers in run_pass(engine, session, frames, reverse=reverse, live=False, begin="anywhere"):
            logits = engine.video_logits(session, [memory for _, memory in answers])
            yield frame_idx, [o.obj_id for o, _ in answers], logits

    def track(
        self,
        session: VideoSession,
        *,
        direction: Direction = "forward",
        start: int | None = None,
        first: int = 0,
        last: int | None = None,
        start_at_prompt: bool = True,
    ) -> Iterator[FrameResult]:
        """Track with typed answers; prompts, new objects and removals between two frames act on the next one.

        Args:
            direction: ``both`` goes forward, then backward over what is left. Without ``start``, backward means from
                each object's first prompt on; a frame then answers with the objects that were tracked backward there.
            start: the first frame of each pass; by default the earliest prompted frame (``reverse``: the latest).
            first, last: frames beyond which tracking does not go; the whole video by default.
            start_at_prompt: an object begins at its own first prompt in the direction of tracking; before it the
                answers leave it out. Officially objects are also tracked on the frames before.
        """
        prepare(self._engine, session)
        first = check_frame(session, first)
        last = session.length - 1 if last is None else check_frame(session, last)
        for reverse, frames, begin in passes(session, direction, start, first, last, start_at_prompt):
            if direction == "both" and not reverse:
                pin(session, self.model.config, start)
            yield from self.track_frames(session, frames, reverse=reverse, begin=begin)

    def track_frames(
        self, session: VideoSession, frames: Sequence[int], *, reverse: bool, begin: Begin = "prompt"
    ) -> Iterator[FrameResult]:
        """One pass of :meth:`track` over exactly these frames; prompts must have been given."""
        engine = self._engine
        for frame_idx, answers in run_pass(engine, session, frames, reverse=reverse, live=True, begin=begin):
            yield frame_result(engine, session, frame_idx, answers)

    @torch.inference_mode()
    def result(self, session: VideoSession, frame_idx: int) -> FrameResult:
        """The answers on a frame as they stand, typed: of the objects that were tracked or prompted there."""
        frame_idx = check_frame(session, frame_idx)
        return frame_result(self._engine, session, frame_idx, standing_answers(session, frame_idx))

    def _check_options(self) -> None:
        if self.options.clear_non_cond_mem_around_input:
            raise StateError(
                "clear_non_cond_mem_around_input fails in the official package, too (it calls a method that does not "
                "exist); set clear_memory_around_prompts=True, which does what it was meant to do"
            )
