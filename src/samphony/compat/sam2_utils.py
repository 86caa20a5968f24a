"""``sam2.modeling.sam2_utils``: small helpers, and the clicks that training scripts draw."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from samphony.compat.amg import batched_mask_to_box
from samphony.errors import ConfigError
from samphony.model.position import sine_position_1d

Frame = TypeVar("Frame")

_ACTIVATIONS: dict[str, Callable[..., Tensor]] = {"relu": F.relu, "gelu": F.gelu, "glu": F.glu}


def get_activation_fn(activation: str) -> Callable[..., Tensor]:
    """``relu``, ``gelu`` or ``glu`` as a function."""
    if activation not in _ACTIVATIONS:
        raise ConfigError(f"activation must be one of {', '.join(_ACTIVATIONS)}, got {activation!r}")
    return _ACTIVATIONS[activation]


def get_clones(module: nn.Module, N: int) -> nn.ModuleList:
    """N copies of a module."""
    return nn.ModuleList(copy.deepcopy(module) for _ in range(N))


def get_1d_sine_pe(pos_inds: Tensor, dim: int, temperature: float = 10000.0) -> Tensor:
    """Code of scalar positions (T,) as (T,dim)."""
    if temperature != 10000:
        raise ConfigError(f"temperature must be 10000, as in every released model, got {temperature}")
    return sine_position_1d(pos_inds, dim)


def select_closest_cond_frames(
    frame_idx: int, cond_frame_outputs: dict[int, Frame], max_cond_frame_num: int
) -> tuple[dict[int, Frame], dict[int, Frame]]:
    """The conditioning frames that are recalled, at most ``max_cond_frame_num`` (-1: all), and the others.

    First the nearest before the frame, then the nearest from it on, then whatever is nearest.
    """
    if max_cond_frame_num == -1 or len(cond_frame_outputs) <= max_cond_frame_num:
        return cond_frame_outputs, {}
    if max_cond_frame_num < 2:
        raise ConfigError(f"max_cond_frame_num must be -1 or at least 2, got {max_cond_frame_num}")
    before = [t for t in cond_frame_outputs if t < frame_idx]
    after = [t for t in cond_frame_outputs if t >= frame_idx]
    chosen = [*([max(before)] if before else []), *([min(after)] if after else [])]
    rest = sorted((t for t in cond_frame_outputs if t not in chosen), key=lambda t: abs(t - frame_idx))
    chosen += rest[: max_cond_frame_num - len(chosen)]
    selected = {t: cond_frame_outputs[t] for t in chosen}
    return selected, {t: out for t, out in cond_frame_outputs.items() if t not in selected}


def sample_box_points(
    masks: Tensor, noise: float = 0.1, noise_bound: int = 20, top_left_label: int = 2, bottom_right_label: int = 3
) -> tuple[Tensor, Tensor]:
    """Loose boxes around masks (B,1,H,W), as corners (B,2,2) and labels (B,2).

    Each corner moves by at most ``noise`` of the box's side and ``noise_bound`` pixels, and stays in the picture.
    """
    height, width = masks.shape[-2:]
    boxes = batched_mask_to_box(masks)[:, 0].float()  # (B,4)
    labels = torch.tensor([top_left_label, bottom_right_label], dtype=torch.int32, device=masks.device)
    if noise > 0:
        side = torch.stack((boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]), dim=1)  # (B,2)
        reach = (side * noise).clamp(max=noise_bound).repeat(1, 2)
        boxes = boxes + (2 * torch.rand_like(boxes) - 1) * reach
        boxes = boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]) - 1)
    return boxes.reshape(-1, 2, 2), labels.repeat(len(masks), 1)


def sample_random_points_from_errors(
    gt_masks: Tensor, pred_masks: Tensor | None, num_pt: int = 1
) -> tuple[Tensor, Tensor]:
    """Clicks anywhere in the error: points (B,num_pt,2) and labels (B,num_pt), 1 on what is missing.

    Without a prediction, or where it has no error, clicks fall on the object and on the background respectively.
    """
    missing, extra, right = _errors(gt_masks, pred_masks)
    allowed = torch.where(right, ~gt_masks, missing | extra)[:, 0]  # (B,H,W)
    width = gt_masks.shape[-1]
    score = torch.rand(len(allowed), num_pt, *allowed.shape[1:], device=gt_masks.device)
    at = score.masked_fill(~allowed[:, None], -1.0).flatten(2).argmax(dim=2)  # (B,num_pt)
    points = torch.stack((at % width, torch.div(at, width, rounding_mode="floor")), dim=-1).float()
    return points, missing[:, 0].flatten(1).gather(1, at).to(torch.int32)


def sample_one_point_from_error_center(
    gt_masks: Tensor, pred_masks: Tensor | None, padding: bool = True
) -> tuple[Tensor, Tensor]:
    """One click in the middle of the largest error: points (B,1,2) and labels (B,1), 1 on what is missing.

    With ``padding`` beyond the picture counts as outside the error.
    """
    missing, extra, _right = _errors(gt_masks, pred_masks)
    points, labels = [], []
    for lacking, surplus in zip(missing[:, 0].cpu().numpy(), extra[:, 0].cpu().numpy(), strict=True):
        depths = [_depth(region, padding) for region in (lacking, surplus)]
        label = int(depths[0].max() > depths[1].max())
        y, x = np.unravel_index(int(depths[0 if label else 1].argmax()), lacking.shape)
        points.append([[float(x), float(y)]])
        labels.append([label])
    device = gt_masks.device
    return torch.tensor(points, device=device), torch.tensor(labels, dtype=torch.int32, device=device)


def get_next_point(gt_masks: Tensor, pred_masks: Tensor | None, method: str) -> tuple[Tensor, Tensor]:
    """A correction click, ``uniform`` in the error or at its ``center``."""
    if method == "uniform":
        return sample_random_points_from_errors(gt_masks, pred_masks)
    if method == "center":
        return sample_one_point_from_error_center(gt_masks, pred_masks)
    raise ConfigError(f"method must be 'uniform' or 'center', got {method!r}")


def _errors(gt_masks: Tensor, pred_masks: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Where masks (B,1,H,W) miss something, where they have too much, and which of them (B,1,1,1) are right."""
    if gt_masks.dtype != torch.bool or gt_masks.ndim != 4 or gt_masks.shape[1] != 1:
        raise ConfigError(f"gt_masks must be boolean (B,1,H,W), got {gt_masks.dtype} {tuple(gt_masks.shape)}")
    pred = torch.zeros_like(gt_masks) if pred_masks is None else pred_masks
    if pred.dtype != torch.bool or pred.shape != gt_masks.shape:
        raise ConfigError(f"pred_masks must be boolean {tuple(gt_masks.shape)}, got {pred.dtype} {tuple(pred.shape)}")
    missing, extra = gt_masks & ~pred, ~gt_masks & pred
    return missing, extra, (gt_masks == pred).flatten(1).all(dim=1)[:, None, None, None]


def _depth(region: Any, padding: bool) -> Any:
    """Distance of each pixel from the region's edge; 0 outside."""
    if not region.any():
        return np.zeros(region.shape)
    if padding:
        return ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    return ndimage.distance_transform_edt(region)
