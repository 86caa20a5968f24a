"""Video object segmentation: J, F and J&F of tracked objects, as the public DAVIS 2017 evaluation takes them.

Two settings: *semi-supervised*, an object's mask is given on its first frame; *one click*, a click at the centre of
that mask is. Measures are means over the frames between the prompted one and the last labelled one, both left out
(official), then over the objects. Objects of a clip that begin on the same frame are tracked together, from that frame
on, as the official tool does for objects that appear later; all are put in one label map: at each pixel the highest
logit above 0 wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samphony.evaluate.clicks import next_click
from samphony.evaluate.metrics import boundary_f, jaccard

Setting = Literal["mask", "click"]


class Tracker(Protocol):
    """The part of the video predictor's official interface that the evaluation uses."""

    def init_state(self, video_path: Any) -> Any:
        """Open a video."""

    def add_new_mask(self, inference_state: Any, frame_idx: int, obj_id: int, mask: Any) -> Any:
        """Prompt with a mask."""

    def add_new_points_or_box(
        self, inference_state: Any, frame_idx: int, obj_id: int, points: Any = None, labels: Any = None
    ) -> Any:
        """Prompt with clicks."""

    def propagate_in_video(self, inference_state: Any) -> Iterator[tuple[int, list[Any], Tensor]]:
        """Track all objects."""


@dataclass(frozen=True)
class ClipData:
    """A clip to evaluate: frames (H,W,3), and label maps (H,W) of the labelled ones by number."""

    name: str
    frames: Sequence[NDArray[np.uint8]]
    labels: dict[int, NDArray[np.uint8]]


@dataclass(frozen=True)
class TrackResult:
    """One object of one clip. presence: share of frames on which it was rightly seen or rightly gone."""

    clip: str
    object_id: int
    setting: Setting
    j: float
    f: float
    presence: float
    first: int
    """The prompted frame."""
    frames: tuple[int, ...]
    """The measured frames."""
    frames_j: tuple[float, ...]

    @property
    def jf(self) -> float:
        """Mean of J and F."""
        return (self.j + self.f) / 2


def evaluate_clip(
    tracker: Tracker,
    clip: ClipData,
    setting: Setting,
    ignore: int = 255,
    watch: Callable[[TrackResult, dict[int, NDArray[np.uint8]]], None] | None = None,
) -> list[TrackResult]:
    """Track the objects of a clip from their first frames on; ``watch`` is shown each result with the label maps."""
    starts = _first_frames(clip, ignore)
    if not starts:
        return []
    predicted = track_clip(tracker, clip, starts, setting, ignore)
    last = max(clip.labels)
    results = []
    for object_id, first in starts.items():
        frames = [t for t in sorted(clip.labels) if first < t < last]
        if not frames:
            continue
        js, fs, seen = [], [], []
        for t in frames:
            truth, void = clip.labels[t] == object_id, clip.labels[t] == ignore
            mask = predicted[t] == object_id
            js.append(jaccard(mask, truth, void))
            fs.append(boundary_f(mask, truth, void))
            seen.append(bool(mask.any()) == bool(truth.any()))
        results.append(
            TrackResult(
                clip=clip.name,
                object_id=object_id,
                setting=setting,
                j=float(np.mean(js)),
                f=float(np.mean(fs)),
                presence=float(np.mean(seen)),
                first=first,
                frames=tuple(frames),
                frames_j=tuple(js),
            )
        )
        if watch is not None:
            watch(results[-1], predicted)
    return results


def track_clip(
    tracker: Tracker, clip: ClipData, starts: dict[int, int], setting: Setting, ignore: int = 255
) -> dict[int, NDArray[np.uint8]]:
    """Label maps of every frame of a clip, objects prompted on their ``starts`` and tracked from there."""
    predicted = {t: np.zeros(clip.frames[0].shape[:2], dtype=np.uint8) for t in range(len(clip.frames))}
    highest: dict[int, NDArray[np.float16]] = {}  # of earlier groups; most clips have one group
    groups = sorted(set(starts.values()))
    for first in groups:
        state = tracker.init_state(list(clip.frames))
        for object_id in (i for i, start in starts.items() if start == first):
            _prompt(tracker, state, clip, first, object_id, setting, ignore)
        for t, ids, logits in tracker.propagate_in_video(state):
            found, best = label_map(ids, logits)
            over = found > 0 if t not in highest else best > highest[t]
            predicted[t] = np.where(over, found, predicted[t])
            if first != groups[-1]:
                highest[t] = best if t not in highest else np.maximum(best, highest[t])
    return predicted


def _prompt(
    tracker: Tracker, state: Any, clip: ClipData, frame: int, object_id: int, setting: Setting, ignore: int
) -> None:
    truth = clip.labels[frame] == object_id
    if setting == "mask":
        tracker.add_new_mask(state, frame, object_id, truth)
        return
    x, y, _ = next_click(np.zeros_like(truth), truth, clip.labels[frame] == ignore)
    points, labels = np.array([[x, y]], dtype=np.float32), np.array([1], dtype=np.int32)
    tracker.add_new_points_or_box(state, frame, object_id, points=points, labels=labels)


def label_map(ids: Sequence[int], logits: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Logits (N,1,H,W) of objects → one map, 0 where there is none, and the highest logits, 0 where none is above."""
    best, who = logits[:, 0].float().max(dim=0)
    numbers = torch.tensor(list(ids), dtype=torch.uint8, device=logits.device)
    found = torch.where(best > 0, numbers[who], 0).to(torch.uint8)
    return found.cpu().numpy(), best.clamp(0, 1000).half().cpu().numpy()


def mean_jf(results: Sequence[TrackResult]) -> tuple[float, float, float]:
    """J, F and J&F, means over objects; nan without results."""
    if not results:
        return float("nan"), float("nan"), float("nan")
    j, f = float(np.mean([r.j for r in results])), float(np.mean([r.f for r in results]))
    return j, f, (j + f) / 2


def _first_frames(clip: ClipData, ignore: int) -> dict[int, int]:
    """The first labelled frame of each object."""
    starts: dict[int, int] = {}
    for t in sorted(clip.labels):
        for i in np.unique(clip.labels[t]):
            if i not in (0, ignore):
                starts.setdefault(int(i), t)
    return starts
