"""The sine position code as the module that official code calls."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from samphony.model.position import sine_position_2d


class PositionEmbeddingSine(nn.Module):
    """Sine code (B,num_pos_feats,h,w) of a feature map (B,·,h,w), with the constants of every released model.

    ``warmup_cache``, ``image_size`` and ``strides`` are accepted and change nothing: tables are made when first used.
    """

    def __init__(
        self,
        num_pos_feats: int,
        temperature: int = 10000,
        normalize: bool = True,
        scale: float | None = None,
        warmup_cache: bool = True,
        image_size: int = 1024,
        strides: Sequence[int] = (4, 8, 16, 32),
    ) -> None:
        super().__init__()
        if temperature != 10000 or not normalize or scale not in (None, 2 * math.pi):
            raise ValueError("PositionEmbeddingSine: only temperature=10000, normalize=True and scale=2π are supported")
        self.num_pos_feats = num_pos_feats

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        return sine_position_2d(h, w, self.num_pos_feats, x.device).expand(x.shape[0], -1, -1, -1)
