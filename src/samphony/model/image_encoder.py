"""Image encoder: a trunk and the feature pyramid neck over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samphony.model.features import ImageFeatures
from samphony.model.layers import LayerNorm2d
from samphony.model.position import sine_position_2d


class Trunk(Protocol):
    """What the neck needs of a trunk: features at strides 4, 8, 16, 32, shallow to deep, and their channels."""

    channels: tuple[int, ...]

    def __call__(self, x: Tensor, /) -> list[Tensor]: ...


class FpnNeck(nn.Module):
    """1×1 laterals; the levels in ``fpn_top_down_levels`` also receive the coarser level, enlarged by repetition.

    Levels are numbered from the finest (0). ``convs.0`` belongs to the deepest, as in official weights.
    """

    def __init__(
        self,
        d_model: int,
        backbone_channel_list: Sequence[int],
        fpn_top_down_levels: Sequence[int] | None = None,
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        self.d_model = d_model
        self.backbone_channel_list = list(backbone_channel_list)  # deep to shallow
        self.convs = nn.ModuleList(_lateral(channels, d_model) for channels in self.backbone_channel_list)
        levels = range(len(self.convs)) if fpn_top_down_levels is None else fpn_top_down_levels
        self.fpn_top_down_levels = list(levels)
        self.norms = nn.ModuleList(LayerNorm2d(d_model) for _ in self.convs) if layer_norm else None

    def forward(self, xs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Trunk features, shallow to deep → levels and their sine codes, shallow to deep."""
        last = len(self.convs) - 1
        levels: list[Tensor] = [xs[0]] * len(xs)
        above: Tensor | None = None
        for i in range(last, -1, -1):
            level = self.convs[last - i](xs[i])
            if i in self.fpn_top_down_levels and above is not None:
                level = self.fuse(level, above)
            levels[i] = above = level
        if self.norms is not None:
            levels = [norm(level) for norm, level in zip(self.norms, levels, strict=True)]
        return levels, [self.position_encoding(level) for level in levels]

    def fuse(self, level: Tensor, above: Tensor) -> Tensor:
        """Add the coarser level, enlarged by repetition."""
        return level + F.interpolate(above.float(), scale_factor=2.0, mode="nearest")

    def position_encoding(self, level: Tensor) -> Tensor:
        """The sine code that belongs to a level, (1,C,h,w)."""
        return sine_position_2d(level.shape[-2], level.shape[-1], self.d_model, level.device, level.dtype)


def _lateral(channels: int, d_model: int) -> nn.Sequential:
    lateral = nn.Sequential()
    lateral.add_module("conv", nn.Conv2d(channels, d_model, 1))
    return lateral


class ImageEncoder(nn.Module):
    """Trunk and neck; ``scalp`` coarsest levels are dropped."""

    def __init__(self, trunk: nn.Module, neck: nn.Module, scalp: int = 0) -> None:
        super().__init__()
        self.trunk = trunk
        self.neck = neck
        self.scalp = scalp

    def forward(self, sample: Tensor) -> ImageFeatures:
        """Normalised pictures (B,3,H,W) → features at strides 4, 8, 16 (for ``scalp`` 1)."""
        levels, positions = self.neck(self.trunk(sample))
        if self.scalp:
            levels, positions = levels[: -self.scalp], positions[: -self.scalp]
        B = sample.shape[0]
        return ImageFeatures(levels, [p.expand(B, -1, -1, -1) if torch.is_tensor(p) else p for p in positions])
