"""The mask decoder's upscaling as matrix products over tokens, for processors.

A transposed convolution of size 2 and stride 2 writes every output pixel from one input pixel: it is a linear layer
that gives the four sub-pixels of a cell. Tokens therefore stay in the order (cell, sub-pixel, sub-sub-pixel) until the
masks are drawn, and only the masks are brought into picture order. Same numbers to rounding as the convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from samphony.model.layers import LayerNorm2d


def upscale_tokens(layers: nn.Sequential, image: Tensor, high_res_features: Sequence[Tensor]) -> Tensor:
    """Tokens (B,h,w,C) → (B,h·w·16,C/8), without gradients.

    Args:
        layers: transposed convolution, norm, GELU, transposed convolution, GELU.
        image: the decoded image.
        high_res_features: (B or 1,C/8,4h,4w) and (B or 1,C/4,2h,2w); read fastest in channels-last memory.
    """
    up1, norm, _, up2, _ = layers
    assert isinstance(up1, nn.ConvTranspose2d)
    assert isinstance(up2, nn.ConvTranspose2d)
    assert isinstance(norm, LayerNorm2d)
    s0, s1 = high_res_features
    B, h, w, _ = image.shape
    x = _four_pixels(up1, image).view(B, h, w, 2, 2, -1)
    x += s1.unflatten(3, (w, 2)).unflatten(2, (h, 2)).permute(0, 2, 4, 3, 5, 1)  # (·,h,w,2,2,C/4)
    x = F.gelu(F.layer_norm(x, norm.weight.shape, norm.weight, norm.bias, norm.eps))
    x = _four_pixels(up2, x).view(B, h, w, 2, 2, 2, 2, -1)
    x += s0.unflatten(3, (w, 2, 2)).unflatten(2, (h, 2, 2)).permute(0, 2, 5, 3, 6, 4, 7, 1)
    return F.gelu(x).view(B, h * w * 16, -1)


def masks_in_picture_order(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks (B,M,h·w·16) of tokens → (B,M,4h,4w); ``size`` is (h, w)."""
    h, w = size
    B, M, _ = masks.shape
    cells = masks.view(B, M, h, w, 2, 2, 2, 2)  # rows and columns of the sub-pixel, then of the sub-sub-pixel
    return cells.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(B, M, 4 * h, 4 * w)


def _four_pixels(up: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """(…,C) → (…,4·C')."""
    weight = up.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (C,C',2,2) → (4·C',C)
    return F.linear(x, weight, None if up.bias is None else up.bias.repeat(4))
