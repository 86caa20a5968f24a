"""Image encoder: a trunk and the feature pyramid neck over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samphony.model.features import ImageFeatures
from samphony.model.layers import LayerNorm2d
from samphony.model.linear import eager_inference
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

    def forward(self, xs: list[Tensor], reductions: Sequence[nn.Conv2d] = ()) -> tuple[list[Tensor], list[Tensor]]:
        """Trunk features, shallow to deep → levels and their sine codes, shallow to deep.

        The first levels pass ``reductions``, 1×1 convolutions, on their way out. Where nothing lies between, lateral
        and reduction are one product on a CPU: the largest level is then never made.
        """
        last = len(self.convs) - 1
        levels: list[Tensor] = [xs[0]] * len(xs)
        above: Tensor | None = None
        for i in range(last, -1, -1):
            if i < len(reductions) and self._reduces_directly(i, xs[i], reductions[i]):
                levels[i] = _one_product(xs[i], self.convs[last - i], reductions[i])
                continue
            level = self.convs[last - i](xs[i])
            if i in self.fpn_top_down_levels and above is not None:
                level = self.fuse(level, above)
            above = level
            if self.norms is not None:
                level = self.norms[i](level)
            levels[i] = reductions[i](level) if i < len(reductions) else level
        return levels, [self.position_encoding(level) for level in levels]

    def _reduces_directly(self, i: int, x: Tensor, reduction: nn.Conv2d) -> bool:
        """Whether level i is only reduced: neither summed, normed nor handed down, nor looked at by a hook."""
        lateral = self.convs[len(self.convs) - 1 - i]
        assert isinstance(lateral, nn.Sequential)
        layers = (lateral, *lateral, reduction)
        plain = all(type(m) in (nn.Conv2d, nn.Sequential) and not _watched(m) for m in layers)
        alone = self.norms is None and not {i, i - 1} & set(self.fpn_top_down_levels)
        return plain and alone and eager_inference(x) and not torch.is_autocast_enabled("cpu")

    def fuse(self, level: Tensor, above: Tensor) -> Tensor:
        """Add the coarser level, enlarged by repetition."""
        return level + F.interpolate(above.float(), scale_factor=2.0, mode="nearest")

    def position_encoding(self, level: Tensor) -> Tensor:
        """The sine code that belongs to a level, (1,C,h,w)."""
        return sine_position_2d(level.shape[-2], level.shape[-1], self.d_model, level.device, level.dtype)


def _one_product(x: Tensor, lateral: nn.Module, reduction: nn.Conv2d) -> Tensor:
    """``reduction(lateral(x))`` of two 1×1 convolutions, channels-last."""
    assert isinstance(lateral, nn.Sequential)
    first = lateral[0]
    assert isinstance(first, nn.Conv2d)
    assert first.bias is not None
    second = reduction.weight.flatten(1)  # (C',C)
    bias = second @ first.bias
    if reduction.bias is not None:
        bias = bias + reduction.bias
    return F.linear(x.permute(0, 2, 3, 1), second @ first.weight.flatten(1), bias).permute(0, 3, 1, 2)


def takes_reductions(encoder: object) -> bool:
    """Whether an encoder and its neck go forward as those of this module do: not watched, not replaced."""
    if not isinstance(encoder, ImageEncoder) or type(encoder).forward is not ImageEncoder.forward:
        return False
    if not isinstance(encoder.neck, FpnNeck) or type(encoder.neck).forward is not FpnNeck.forward:
        return False
    return not any(_watched(m) or "forward" in vars(m) for m in (encoder, encoder.neck))


def _watched(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


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

    def forward(self, sample: Tensor, reductions: Sequence[nn.Conv2d] = ()) -> ImageFeatures:
        """Normalised pictures (B,3,H,W) → features at strides 4, 8, 16 (for ``scalp`` 1).

        ``reductions``: see `FpnNeck`, the neck that knows them.
        """
        levels, positions = self.neck(self.trunk(sample), reductions) if reductions else self.neck(self.trunk(sample))
        if self.scalp:
            levels, positions = levels[: -self.scalp], positions[: -self.scalp]
        B = sample.shape[0]
        return ImageFeatures(levels, [p.expand(B, -1, -1, -1) if torch.is_tensor(p) else p for p in positions])
