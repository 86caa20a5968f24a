"""Holes and sprinkles of low-resolution logits, on every device."""

from __future__ import annotations

import torch
from torch import Tensor

from samphony.media.masks import small_components


def clean_logits(logits: Tensor, hole_area: int, sprinkle_area: int) -> Tensor:
    """Logits (N,1,h,w) with small holes raised to 0.1, then small sprinkles lowered to -0.1; 0 switches either off.

    Components touch at sides or corners; areas are in pixels of ``logits``. Official behaviour for holes, where the
    official package has its CUDA extension.
    """
    if hole_area > 0:
        holes = small_components((logits <= 0).cpu().numpy(), hole_area)
        logits = torch.where(torch.from_numpy(holes).to(logits.device), 0.1, logits)
    if sprinkle_area > 0:
        sprinkles = small_components((logits > 0).cpu().numpy(), sprinkle_area)
        logits = torch.where(torch.from_numpy(sprinkles).to(logits.device), -0.1, logits)
    return logits
