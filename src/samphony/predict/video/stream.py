"""Live tracking: one frame in, one answer out. The same engine and the same numbers as offline, in flat memory."""

from __future__ import annotations

from typing import Any

import torch

from samphony.errors import PromptError, StateError
from samphony.media.video import Frame, FrameSource
from samphony.media.video_arrays import as_frame
from samphony.predict.video.answering import frame_result, prompt, standing_answers
from samphony.predict.video.engine import Engine
from samphony.predict.video.policies import MemoryPolicy
from samphony.predict.video.preprocess import model_input
from samphony.predict.video.prompts import check_inside, mask_prompt, point_prompt
from samphony.predict.video.propagation import Answers, step
from samphony.predict.video.results import FrameResult
from samphony.predict.video.session import VideoSession
from samphony.predict.video.tracked_object import ObjectId


class _LastFrame(FrameSource):
    """The frame of a stream that was given last; earlier ones are gone."""

    name = "the stream"

    def __init__(self, first: Frame) -> None:
        self.height, self.width = first.shape[:2]
        self._frame = first
        self._index = 0

    def push(self, frame: Frame) -> None:
        """Take the next frame."""
        self._frame = self.check_size(frame, self._index + 1)
        self._index += 1

    def __len__(self) -> int:
        return self._index + 1

    def read(self, index: int) -> Frame:
        if index != self._index:
            raise StateError(f"frame {index} of the stream is gone; only frame {self._index} can be used")
        return self._frame


class VideoStream:
    """Track objects through frames as they come. Made by ``SAM2VideoPredictor.stream()``.

    ``step`` takes the next frame. ``prompt`` marks an object on the frame given last, at any time; ``remove`` forgets
    one; ``undo`` takes back the last of these. Frames are numbered from 0 in the order of ``step``.
    """

    def __init__(self, engine: Engine, policy: MemoryPolicy, num_frames: int | None) -> None:
        self._engine = engine
        self._policy = policy
        self._num_frames = num_frames
        self._source: _LastFrame | None = None
        self._session: VideoSession | None = None

    @property
    def session(self) -> VideoSession:
        """The session behind the stream. Raises :class:`StateError` before the first frame."""
        if self._session is None:
            raise StateError("the stream has no frame yet; give one to step() first")
        return self._session

    @property
    def frame_idx(self) -> int:
        """Number of the last frame; -1 before the first."""
        return -1 if self._source is None else len(self._source) - 1

    @property
    def obj_ids(self) -> list[ObjectId]:
        """Ids of the objects."""
        return [] if self._session is None else self._session.obj_ids

    @torch.inference_mode()
    def step(self, frame: Any) -> FrameResult:
        """Take the next frame (array (H,W,3) uint8, tensor, PIL image or path) and track all objects on it."""
        picture = as_frame(frame, f"frame {self.frame_idx + 1} of the stream")
        engine = self._engine
        if self._source is None or self._session is None:
            self._source = _LastFrame(picture)
            model = engine.model
            self._session = VideoSession(self._source, self._num_frames, engine.options, model.device, model.image_size)
            return frame_result(engine, self._session, 0, [])
        session = self._session
        engine.encode_pending(session)  # needs the features of the frame before: now or never
        self._source.push(picture)
        session.forget_snapshots()  # frames that an older state would need are gone
        objects = [o for o in session.objects.values() if o.bank.conditioning]
        answers: Answers = []
        if objects:
            tensor = model_input(picture, session.image_size)
            answers = step(engine, session, self.frame_idx, objects, picture=tensor)
        return frame_result(engine, session, self.frame_idx, answers)

    @torch.inference_mode()
    def prompt(
        self,
        obj_id: ObjectId,
        *,
        points: Any = None,
        labels: Any = None,
        box: Any = None,
        mask: Any = None,
        clear_old_points: bool = True,
    ) -> FrameResult:
        """Mark an object, new or known, on the last frame; answers with all objects of that frame.

        Args:
            points: (N,2) x, y in pixels; labels: (N,) 1 inside, 0 outside. box: x0, y0, x1, y1. mask: (H,W).
        """
        session = self.session
        if (mask is None) == (points is None and box is None):
            raise PromptError("give either a mask, or points with labels and/or a box")
        given = drawn = None
        if mask is None:
            check_inside(session, points, box)
            given = point_prompt(session, points, labels, box, clear_old_points=clear_old_points, normalize_coords=True)
        else:
            drawn = mask_prompt(session, mask)
        prompt(
            self._engine,
            session,
            self.frame_idx,
            obj_id,
            given,
            drawn,
            add=not clear_old_points,
            policy=self._policy,
        )
        return self.result()

    @torch.inference_mode()
    def result(self) -> FrameResult:
        """The answers on the last frame as they stand."""
        session, t = self.session, self.frame_idx
        return frame_result(self._engine, session, t, standing_answers(session, t))

    def remove(self, obj_id: ObjectId) -> None:
        """Forget an object. Raises :class:`StateError` where it does not exist."""
        session = self.session
        session.known(obj_id)
        session.remember()
        del session.objects[obj_id]

    def undo(self) -> None:
        """Take back the last prompt or removal on this frame. Raises :class:`StateError` where there is none."""
        self.session.undo()
