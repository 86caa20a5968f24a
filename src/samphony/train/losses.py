"""The losses of SAM 2, on soft targets with pixels that do not count.

Focal and dice on masks, L1 on the predicted IoU, cross-entropy on the object score (Ravi et al., 2024, appendix). Each
function gives one value an object, so that weights and means are the caller's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_ALPHA = 0.25
_GAMMA = 2


def focal_loss(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean focal loss of (…,H,W) logits against targets in 0…1: (…,)."""
    p = logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    p_t = p * target + (1 - p) * (1 - target)
    alpha = _ALPHA * target + (1 - _ALPHA) * (1 - target)
    loss = alpha * (1 - p_t) ** _GAMMA * cross_entropy * valid
    return loss.flatten(-2).sum(-1) / valid.flatten(-2).sum(-1).clamp(min=1)


def dice_loss(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """1 - dice, smoothed by one pixel: (…,H,W) → (…,)."""
    p = (logits.sigmoid() * valid).flatten(-2)
    t = (target * valid).flatten(-2)
    return 1 - (2 * (p * t).sum(-1) + 1) / (p.sum(-1) + t.sum(-1) + 1)


def true_iou(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """IoU of the thresholded masks, 0 for two empty ones as in the released training: (…,H,W) → (…,)."""
    p, t = (logits > 0) & (valid > 0.5), (target > 0.5) & (valid > 0.5)
    union = (p | t).flatten(-2).sum(-1).clamp(min=1)
    return (p & t).flatten(-2).sum(-1) / union


def object_score_loss(logits: Tensor, present: Tensor) -> Tensor:
    """Cross-entropy of the object score (N,1) against (N,) bool: (N,)."""
    return F.binary_cross_entropy_with_logits(logits[:, 0], present.to(logits.dtype), reduction="none")


def enlarge(logits: Tensor, size: int) -> Tensor:
    """(N,M,h,w) → (N,M,size,size), as the predictors enlarge."""
    if logits.shape[-1] == size:
        return logits
    return F.interpolate(logits, (size, size), mode="bilinear", align_corners=False)


def best_of(logits: Tensor, target: Tensor, valid: Tensor, focal: float, dice: float) -> Tensor:
    """Index (N,) of the mask with the least mask loss among (N,M,h,w)."""
    with torch.no_grad():
        t, v = target[:, None].expand_as(logits), valid[:, None].expand_as(logits)
        return (focal * focal_loss(logits, t, v) + dice * dice_loss(logits, t, v)).argmin(dim=1)
