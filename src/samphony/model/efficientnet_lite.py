"""EfficientNet-Lite: the nano's trunk, an inverted-residual network for processors without matrix units.

Source: Tan and Le, "EfficientNet" (2019) and Google's Lite variants (2020): no squeeze-and-excite, ReLU6, fixed
stem. Batch norms are part of the convolutions here (a weight and a bias): `fold_imagenet` brings public ImageNet
weights, which keep them apart, into this form. Padding is symmetric, where the TensorFlow original pads strided
convolutions at the far side only: half a pixel of each stride, which training levels out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from samphony.model.config import EfficientNetLiteConfig
from samphony.model.conv import Conv2d
from samphony.model.layers import DropPath

_BN_EPS = 1e-3
_STEM_WIDTH = 32
_FEATURE_STAGES = (1, 2, 4, 6)
"""Stages whose last block gives the features at strides 4, 8, 16 and 32."""


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expansion: int
    width: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


class InvertedResidual(nn.Module):
    """Widen (1×1), depthwise k×k, narrow (1×1) without activation; a residual where the shape allows it."""

    def __init__(self, dim: int, dim_out: int, kernel: int, stride: int, expansion: int, drop_path: float) -> None:
        super().__init__()
        wide = dim * expansion
        self.expand = Conv2d(dim, wide, 1) if expansion > 1 else None
        self.depthwise = Conv2d(wide, wide, kernel, stride, padding=kernel // 2, groups=wide)
        self.project = Conv2d(wide, dim_out, 1)
        self.residual = stride == 1 and dim == dim_out
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B,dim,H,W) → (B,dim_out,H/stride,W/stride)."""
        y = x if self.expand is None else self.expand.forward_relu6(x)
        y = self.project(self.depthwise.forward_relu6(y))
        return x + self.drop_path(y) if self.residual else y


class EfficientNetLite(nn.Module):
    """The trunk: pictures (B,3,H,W) → features at strides 4, 8, 16 and 32, shallow to deep.

    Args:
        config: width and depth multipliers (Lite0: 1.0, 1.0; Lite1: 1.0, 1.1; Lite2: 1.1, 1.2).
    """

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__()
        self.channels = config.channels
        self.stem = Conv2d(3, _STEM_WIDTH, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList()
        self.feature_blocks: tuple[int, ...] = ()
        dim = _STEM_WIDTH
        total = sum(_repeats(i, config.depth) for i in range(len(_STAGES)))
        for i, stage in enumerate(_STAGES):
            width = config.rounded(stage.width)
            for repeat in range(_repeats(i, config.depth)):
                drop = config.drop_path_rate * len(self.blocks) / total
                stride = stage.stride if repeat == 0 else 1
                self.blocks.append(InvertedResidual(dim, width, stage.kernel, stride, stage.expansion, drop))
                dim = width
            if i in _FEATURE_STAGES:
                self.feature_blocks = (*self.feature_blocks, len(self.blocks) - 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias) if module.bias is not None else None

    def forward(self, x: Tensor) -> list[Tensor]:
        """Normalised pictures (B,3,H,W), H and W multiples of 32 → four features."""
        # Channels-last: 1×1 convolutions are then plain products, and the neck's norms find their channels together.
        x = self.stem.forward_relu6(x.contiguous(memory_format=torch.channels_last))
        features: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.feature_blocks:
                features.append(x)
        return features


def fold_imagenet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Public ImageNet weights (``_conv_stem``, ``_blocks.N._bn0``, …) in this trunk's form, batch norms folded in.

    The classifier and the last 1×1 convolution are left out.
    """
    folded: dict[str, Tensor] = {}

    def fold(conv: str, norm: str, name: str) -> None:
        scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + _BN_EPS)
        folded[f"{name}.weight"] = state[f"{conv}.weight"] * scale[:, None, None, None]
        folded[f"{name}.bias"] = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale

    fold("_conv_stem", "_bn0", "stem")
    count = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("_blocks."))
    for i in range(count):
        ours, theirs = f"blocks.{i}", f"_blocks.{i}"
        if f"{theirs}._expand_conv.weight" in state:
            fold(f"{theirs}._expand_conv", f"{theirs}._bn0", f"{ours}.expand")
        fold(f"{theirs}._depthwise_conv", f"{theirs}._bn1", f"{ours}.depthwise")
        fold(f"{theirs}._project_conv", f"{theirs}._bn2", f"{ours}.project")
    return folded


def _repeats(stage: int, depth: float) -> int:
    """Blocks of a stage; the first and the last are never repeated in the Lite family."""
    repeats = _STAGES[stage].repeats
    return repeats if stage in (0, len(_STAGES) - 1) else math.ceil(repeats * depth)
