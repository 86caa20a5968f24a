"""Memory encoder: what a frame's mask and features leave behind."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samphony.model.config import MemoryEncoderConfig
from samphony.model.conv import Conv2d
from samphony.model.layers import LayerNorm2d
from samphony.model.linear import Linear, eager_inference, linear_gelu
from samphony.model.position import sine_position_2d

FEW_PIXELS = 1 << 20
"""Of masks that are encoded together on a CPU: more do not stay in the cache (eight objects at 1024 take 0.6 times as
long one by one)."""


class EncodedMemory(NamedTuple):
    """features (B,Cm,h,w) and their position code (B,Cm,h,w)."""

    features: Tensor
    position: Tensor


class MaskDownSampler(nn.Module):
    """Strided convolutions from one channel at S to ``embed_dim`` channels at S/16."""

    def __init__(self, embed_dim: int, total_stride: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for _ in range(int(math.log2(total_stride))):
            # The last step of the official widths (1, 4, 16, 64, 256) is the model's own width.
            wider = min(channels * 4, embed_dim)
            layers += [Conv2d(channels, wider, 3, stride=2, padding=1), LayerNorm2d(wider), nn.GELU()]
            channels = wider
        layers.append(Conv2d(channels, embed_dim, 1))
        self.encoder = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B,1,S,S) → (B,C,h,w)."""
        return self.encoder(x)


class CXBlock(nn.Module):
    """ConvNeXt block (Liu et al., 2022): depthwise 7×7, norm, pointwise MLP, scaled residual."""

    def __init__(self, dim: int, expansion: int = 4) -> None:
        super().__init__()
        self.dwconv = Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = LayerNorm2d(dim)
        self.pwconv1 = Linear(dim, expansion * dim)
        self.pwconv2 = Linear(expansion * dim, dim)
        self.gamma = nn.Parameter(1e-6 * torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,h,w) → the same shape."""
        y = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)
        y = self.pwconv2(linear_gelu(self.pwconv1, y))
        return torch.addcmul(x, y.permute(0, 3, 1, 2), self.gamma[:, None, None])


class Fuser(nn.Module):
    """A few ConvNeXt blocks."""

    def __init__(self, dim: int, num_layers: int, expansion: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList(CXBlock(dim, expansion) for _ in range(num_layers))

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,h,w) → the same shape."""
        for layer in self.layers:
            x = layer(x)
        return x


class MemoryEncoder(nn.Module):
    """Fuses image features with a scaled mask into a memory of ``config.out_dim`` channels."""

    def __init__(self, in_dim: int, config: MemoryEncoderConfig) -> None:
        super().__init__()
        self.out_dim = config.out_dim
        self.pool = config.pool
        self.mask_downsampler = MaskDownSampler(in_dim)
        self.pix_feat_proj = Conv2d(in_dim, in_dim, 1)
        self.fuser = Fuser(in_dim, config.fuser_layers, config.fuser_expansion)
        self.out_proj = Conv2d(in_dim, config.out_dim, 1)

    def forward(self, pix_feat: Tensor, masks: Tensor, skip_mask_sigmoid: bool = False) -> EncodedMemory:
        """Encode a memory.

        Args:
            pix_feat: stride-16 features (B or 1,C,h,w), without any memory in them.
            masks: (B,1,S,S); logits, or values ready for the encoder with ``skip_mask_sigmoid``.
        """
        if not skip_mask_sigmoid:
            masks = masks.sigmoid()
        picture = self.pix_feat_proj(pix_feat)
        few = max(FEW_PIXELS // masks[0].numel(), 1)
        if len(masks) > few and eager_inference(masks):
            pictures = picture.expand(len(masks), -1, -1, -1).split(few)
            x = torch.cat([self._fuse(p, m) for p, m in zip(pictures, masks.split(few), strict=True)])
        else:
            x = self._fuse(picture, masks)
        B, Cm, h, w = x.shape
        return EncodedMemory(x, sine_position_2d(h, w, Cm, x.device, x.dtype).expand(B, -1, -1, -1))

    def _fuse(self, picture: Tensor, masks: Tensor) -> Tensor:
        x = self.out_proj(self.fuser(picture + self.mask_downsampler(masks)))
        return F.avg_pool2d(x, self.pool) if self.pool > 1 else x
