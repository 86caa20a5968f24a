"""Small layers that several parts share."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samphony.model.linear import Linear, linear_gelu

STRIP_BYTES = 10 << 20
"""Without gradients on a CPU, work goes on strips whose widest tensor has about this size, so that all tensors of a
strip stay in the cache and none is large enough for the allocator to map its pages anew."""
LEAST_TOKENS = 1024
"""Tokens of a strip at least: products with fewer rows lose a tenth of their speed."""


def add_in_strips(tokens: Tensor, branch: Callable[[Tensor], Tensor], width: int) -> None:
    """``tokens += branch(tokens)`` for tokens (T,C) that do not meet one another in the branch, strip by strip.

    ``width``: channels of the widest tensor in the branch.
    """
    for strip in tokens.split(max(STRIP_BYTES // (width * tokens.element_size()), LEAST_TOKENS)):
        strip += branch(strip)


class MLP(nn.Module):
    """Linear layers with an activation between them; the parameters are ``layers.0`` … ``layers.{n-1}``."""

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        output_dim: int,
        num_layers: int,
        activation: Callable[[Tensor], Tensor] = F.relu,
        sigmoid_output: bool = False,
    ) -> None:
        super().__init__()
        dims = [input_dim, *[hidden_dim] * (num_layers - 1), output_dim]
        self.layers = nn.ModuleList(Linear(a, b) for a, b in pairwise(dims))
        self.activation = activation
        self.sigmoid_output = sigmoid_output

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.layers
        for layer in hidden:
            x = linear_gelu(layer, x) if self.activation is F.gelu else self.activation(layer(x))
        x = last(x)
        return torch.sigmoid(x) if self.sigmoid_output else x


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of (B,C,H,W), eps 1e-6.

    Works on the channels-last view and returns it, so that a following convolution finds its channels together.
    """

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        last = x.permute(0, 2, 3, 1)  # (B,H,W,C)
        return F.layer_norm(last, self.weight.shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)


class DropPath(nn.Module):
    """Stochastic depth (Huang et al., 2016): in training, leaves out a residual branch per sample."""

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.drop_prob == 0.0:
            return x
        keep = 1.0 - self.drop_prob
        mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * mask.div_(keep)
