"""Prompts as people give them, checked and brought to the model's pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from samphony.errors import PromptError
from samphony.predict.video.session import VideoSession
from samphony.predict.video.tracked_object import PointPrompt


def check_frame(session: VideoSession, frame_idx: Any) -> int:
    """The frame number as int. Raises :class:`PromptError` outside the video."""
    count = session.length
    if isinstance(frame_idx, bool) or not isinstance(frame_idx, (int, np.integer)):
        raise PromptError(f"frame_idx must be an integer, got {frame_idx!r}")
    if not 0 <= frame_idx < count:
        raise PromptError(f"frame_idx {frame_idx} is outside the video, which has frames 0 … {count - 1}")
    return int(frame_idx)


def point_prompt(
    session: VideoSession, points: Any, labels: Any, box: Any, *, clear_old_points: bool, normalize_coords: bool
) -> PointPrompt:
    """Clicks (N,2) px of the video with labels (N,), and a box x0, y0, x1, y1, as one prompt.

    The box is two points in front, labelled 2 and 3. ``normalize_coords=False``: coordinates are in 0…1 already.
    """
    if (points is not None) != (labels is not None):
        raise PromptError("points and labels must be provided together")
    if points is None and box is None:
        raise PromptError("at least one of points or box must be provided as input")
    if box is not None and not clear_old_points:
        raise PromptError("box cannot be added to old points, since it must come first; use clear_old_points=True")
    coords = torch.zeros(1, 0, 2) if points is None else _numbers("points", points, torch.float32)
    marks = torch.zeros(1, 0, dtype=torch.int32) if labels is None else _numbers("labels", labels, torch.int32)
    coords = coords[None] if coords.dim() == 2 else coords
    marks = marks[None] if marks.dim() == 1 else marks
    if coords.dim() != 3 or coords.shape[0] != 1 or coords.shape[-1] != 2:
        raise PromptError(f"points must be (N, 2), got shape {tuple(coords.shape)}")
    if marks.shape != coords.shape[:2]:
        raise PromptError(f"labels must be one for each of the {coords.shape[1]} points, got {marks.numel()}")
    if box is not None:
        corners = _numbers("box", box, torch.float32)
        if corners.numel() != 4:
            raise PromptError(f"box must be x0, y0, x1, y1, got {corners.numel()} numbers")
        x0, y0, x1, y1 = corners.flatten().tolist()
        if x0 >= x1 or y0 >= y1:
            raise PromptError(f"box must have x0 < x1 and y0 < y1, got {[x0, y0, x1, y1]}")
        coords = torch.cat([corners.reshape(1, 2, 2).to(coords), coords], dim=1)
        marks = torch.cat([torch.tensor([[2, 3]], dtype=torch.int32, device=marks.device), marks], dim=1)
    if not torch.isfinite(coords).all():
        raise PromptError("points and box must be finite numbers")
    if bool(((marks < -1) | (marks > 3)).any()):
        raise PromptError(f"labels must be 1 (inside), 0 (outside), 2, 3 (box corners) or -1, got {marks[0].tolist()}")
    if normalize_coords:
        coords = coords / torch.tensor([session.width, session.height], device=coords.device)
    return PointPrompt((coords * session.image_size).to(session.device), marks.to(session.device))


def check_inside(session: VideoSession, points: Any, box: Any) -> None:
    """Raise :class:`PromptError` for points outside the frame (the official door takes them)."""
    for name, value in (("points", points), ("box", box)):
        if value is None:
            continue
        xy = _numbers(name, value, torch.float32).reshape(-1, 2)
        size = torch.tensor([session.width, session.height], device=xy.device)
        if bool(((xy < 0) | (xy > size)).any()):
            raise PromptError(
                f"{name} {xy.tolist()} reach outside the frame, which is {session.width} × {session.height} pixels"
            )


def mask_prompt(session: VideoSession, mask: Any) -> Tensor:
    """A mask (H,W) → (1,1,S,S) of 0 and 1. A mask of exactly S × S is taken as it is."""
    S = session.image_size
    given = mask if isinstance(mask, Tensor) else torch.from_numpy(np.asarray(mask).astype(bool))
    if given.dim() != 2:
        raise PromptError(f"mask must be (H, W), got shape {tuple(given.shape)}")
    if 0 in given.shape:
        raise PromptError(f"mask has no pixels: shape {tuple(given.shape)}")
    out = given[None, None].float().to(session.device)
    if not torch.isfinite(out).all():
        raise PromptError("mask must be finite numbers")
    if out.shape[-2:] == (S, S):
        return out
    out = F.interpolate(out, size=(S, S), mode="bilinear", align_corners=False, antialias=True)
    return (out >= 0.5).float()


def _numbers(name: str, value: Any, dtype: torch.dtype) -> Tensor:
    if isinstance(value, Tensor):
        return value
    try:
        return torch.as_tensor(np.asarray(value), dtype=dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PromptError(f"{name} must be an array of numbers, got {value!r}") from error
