"""Track a video into a folder: the work behind ``samphony track``. Interrupted, it goes on where it was."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from samphony.errors import PromptError
from samphony.files import replacing
from samphony.media.video import FrameSource, open_video
from samphony.media.video_overlay import write_overlay
from samphony.media.video_tracks import TrackedMask, TrackFolder
from samphony.predict.build import build_sam2_video_predictor
from samphony.predict.video.predictor import SAM2VideoPredictor
from samphony.predict.video.prompts import check_frame, check_inside
from samphony.predict.video.propagation import Begin, Direction, passes, pin
from samphony.predict.video.results import FrameResult
from samphony.predict.video.session import VideoSession
from samphony.weights.download import named_weights

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many frames are done, and how many there are."""

_CHECKPOINT_SECONDS = 60


@dataclass(frozen=True)
class VideoPrompt:
    """What marks one object on one frame: clicks (x, y, label), or a box x0, y0, x1, y1, or both, or a mask (H,W)."""

    frame_idx: int
    obj_id: int
    points: tuple[tuple[float, float, int], ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: npt.NDArray[np.bool_] | None = None

    @property
    def only_excludes(self) -> bool:
        """Whether it says nothing but what the object is not, which is an answer only to a mask that is there."""
        return self.box is None and self.mask is None and not any(label == 1 for _, _, label in self.points)

    def describe(self) -> list[Any]:
        """Plain data that tells prompts apart."""
        mask = None if self.mask is None else hashlib.sha256(np.packbits(self.mask).tobytes()).hexdigest()
        return [self.frame_idx, self.obj_id, self.points, self.box, mask]


@dataclass(frozen=True)
class Tracked:
    """What was written."""

    folder: Path
    json_path: Path
    overlay_path: Path | None
    frames: int


def named_predictor(model: str, device: str | None = None, size: int | None = None) -> SAM2VideoPredictor:
    """The predictor of a model's name, whose weights are fetched once when they are not here, or of a weights file.

    ``size`` is the network's input size in pixels, a multiple of 32; by default what it was trained with.
    """
    changes = [] if size is None else [f"++model.image_size={size}"]
    return build_sam2_video_predictor(*named_weights(model), device=device, hydra_overrides_extra=changes)


def track_to_folder(
    predictor: SAM2VideoPredictor,
    video: Any,
    prompts: Sequence[VideoPrompt],
    out: Path,
    *,
    direction: Direction = "forward",
    first: int = 0,
    last: int | None = None,
    overlay: bool = True,
    progress: Progress | None = None,
) -> Tracked:
    """Track the prompted objects and write masks, JSON and overlay to ``out``.

    Corrections on later frames count (they become conditioning frames), objects begin at their own first prompt, and
    memory stays flat. A prompt of negative clicks alone corrects what tracking finds on its frame. When the run is
    interrupted, the same call goes on where it stopped, with the same numbers.

    Args:
        predictor: with any options.
        video: whatever ``open_video`` reads.
        prompts: at least one; several for an object on one frame are not allowed.
        out: the folder.
        direction: ``both`` also goes backward from each object's first prompt.
        first, last: frames beyond which tracking does not go.

    Raises:
        PromptError: a prompt outside the frame or the video, or negative clicks alone where nothing is tracked.
        MediaError: a frame that cannot be decoded, or a file that cannot be written; what was tracked is kept.
    """
    if not prompts:
        raise PromptError("prompts: there is none; mark at least one object with a point, a box or a mask")
    source = open_video(video)
    work = _Work(predictor, source, prompts, Path(out), direction, first, last)
    tracks = work.run(progress)
    overlay_path = None
    if overlay:
        overlay_path = write_overlay(
            source, tracks, Path(out) / "overlay.mp4", progress=_named(progress, "writing the overlay")
        )
    frames = len(tracks.frames)
    rate = None if source.rate is None else float(source.rate)
    json_path = tracks.finish({"file_name": Path(source.name).name, "rate": rate, "length": len(source)})
    work.forget()
    return Tracked(Path(out), json_path, overlay_path, frames)


class _Work:
    """One run with its place on disk."""

    def __init__(
        self,
        predictor: SAM2VideoPredictor,
        source: FrameSource,
        prompts: Sequence[VideoPrompt],
        out: Path,
        direction: Direction,
        first: int,
        last: int | None,
    ) -> None:
        options = {"history": "window", "add_all_frames_to_correct_as_cond": True}
        self.predictor = predictor.with_options(**options)
        self.source, self.direction = source, direction
        self.prompts = [p for p in prompts if not p.only_excludes]
        self.corrections = [p for p in prompts if p.only_excludes]
        self.first, self.last = first, len(source) - 1 if last is None else last
        if not 0 <= self.first <= self.last < len(source):
            raise PromptError(
                f"frames {self.first} … {self.last} are not a part of the video, which has frames 0 … {len(source) - 1}"
            )
        for p in self.corrections:
            self._check_reached(p)
        self.tracks = TrackFolder(out, source.height, source.width)
        self._place = out / "resume.json"
        self._session = out / "resume-session.json"
        asked = [
            [source.name, len(source), source.height, source.width],
            [predictor.model.config.name, predictor.model.image_size, direction, first, last],
            [p.describe() for p in prompts],
        ]
        self._asked = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
        self._labels = {obj_id: place for place, obj_id in enumerate(sorted({p.obj_id for p in prompts}), 1)}
        if all(1 <= obj_id <= 255 for obj_id in self._labels):
            self._labels = {obj_id: obj_id for obj_id in self._labels}
        elif len(self._labels) > 255:
            raise PromptError(f"prompts: mask pictures hold at most 255 objects, got {len(self._labels)}")

    def run(self, progress: Progress | None) -> TrackFolder:
        session, number, done = self._resume() or self._begin()
        todo = passes(session, self.direction, None, self.first, self.last, start_at_prompt=True)
        total = sum(len(frames) for _, frames, _ in todo)
        counted = sum(len(frames) for _, frames, _ in todo[:number]) + done
        for place, (reverse, frames, begin) in list(enumerate(todo))[number:]:
            saved = time.monotonic()
            try:
                for result in self._track(session, frames[done:], reverse, begin):
                    self._add(result)
                    done, counted = done + 1, counted + 1
                    if progress is not None:
                        progress("tracking", counted, total)
                    if time.monotonic() - saved > _CHECKPOINT_SECONDS:
                        self._save(session, place, done)
                        saved = time.monotonic()
            except BaseException:
                with suppress(OSError):  # the disk may be what failed
                    self._save(session, place, done)
                raise
            done = 0
        return self.tracks

    def _track(self, session: VideoSession, frames: range, reverse: bool, begin: Begin) -> Iterator[FrameResult]:
        """A pass; negative clicks correct what tracking has found on their frame, and the next one knows of it."""
        for found in self.predictor.track_frames(session, frames, reverse=reverse, begin=begin):
            due = [p for p in self.corrections if p.frame_idx == found.frame_idx and p.obj_id in found.obj_ids]
            for p in due:
                points, labels = [(x, y) for x, y, _ in p.points], [label for _, _, label in p.points]
                self.predictor.add_new_points_or_box(session, found.frame_idx, p.obj_id, points, labels)
            yield self.predictor.result(session, found.frame_idx) if due else found

    def _check_reached(self, p: VideoPrompt) -> None:
        """Whether tracking has a mask of the object on the frame of negative clicks."""
        starts = [q.frame_idx for q in self.prompts if q.obj_id == p.obj_id]
        what = f"prompts: frame {p.frame_idx} has only negative clicks for object {p.obj_id}"
        if not starts or p.frame_idx in starts:
            raise PromptError(f"{what}; mark it with a positive click, a box or a mask, on this frame or another")
        start = max(starts) if self.direction == "reverse" else min(starts)
        after = p.frame_idx > start
        if self.direction != "both" and after == (self.direction == "reverse"):
            raise PromptError(f"{what}, and tracking {self.direction} from frame {start} never gets there")
        if not self.first <= p.frame_idx <= self.last:
            raise PromptError(f"{what}, outside of the frames {self.first} … {self.last} that are tracked")

    def _begin(self) -> tuple[VideoSession, int, int]:
        session = self.predictor.init_state(self.source)
        for p in sorted(self.prompts, key=lambda p: p.frame_idx):
            frame_idx = check_frame(session, p.frame_idx)
            if p.mask is not None:
                self.predictor.add_new_mask(session, frame_idx, p.obj_id, p.mask)
                continue
            points = [(x, y) for x, y, _ in p.points] or None
            labels = [label for _, _, label in p.points] or None
            check_inside(session, points, p.box)
            self.predictor.add_new_points_or_box(session, frame_idx, p.obj_id, points, labels, box=p.box)
        for p in self.corrections:
            check_inside(session, [(x, y) for x, y, _ in p.points], None)
        self.predictor.propagate_in_video_preflight(session)
        if self.direction == "both":
            pin(session, self.predictor.model.config, None)
        # Only now: a call with a wrong prompt must not cost what an earlier one has made.
        self.forget()
        self.tracks.clear()
        return session, 0, 0

    def _resume(self) -> tuple[VideoSession, int, int] | None:
        if not (self._place.exists() and self._session.exists()):
            return None
        place = json.loads(self._place.read_text(encoding="utf-8"))
        if place.get("asked") != self._asked:
            return None
        session = self.predictor.load_session(self._session, self.source)
        if self.direction == "both":
            pin(session, self.predictor.model.config, None)
        return session, int(place["pass"]), int(place["done"])

    def _save(self, session: VideoSession, number: int, done: int) -> None:
        self.predictor.save_session(session, self._session)
        with replacing(self._place) as part:
            part.write_text(json.dumps({"asked": self._asked, "pass": number, "done": done}), encoding="utf-8")

    def _add(self, result: FrameResult) -> None:
        masks = [
            TrackedMask(o.obj_id, self._labels[int(o.obj_id)], o.mask, o.iou, o.object_score) for o in result.objects
        ]
        self.tracks.add(result.frame_idx, self.source.time(result.frame_idx), masks)

    def forget(self) -> None:
        """Remove what only a later run of the same call would need."""
        for path in (self._place, self._session, self._session.with_suffix(".safetensors")):
            path.unlink(missing_ok=True)


def _named(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(what, done, total)
