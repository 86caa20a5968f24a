"""Low-rank adapters (Hu et al., "LoRA", 2021) on attention projections, through torch's parametrizations.

The adapted layers stay what they are for the rest of the network; only their weight is computed as W + b·a. When
weights are exported the product is added in, so that a fine-tuned file has the official form.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_TARGETS = frozenset({"q_proj", "k_proj", "v_proj", "out_proj", "qkv", "proj"})
_ORIGINAL = ".parametrizations.weight.original"


class LowRank(nn.Module):
    """Adds b·a to a weight (out,in); b starts at zero, so nothing changes before the first step."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        out, into = weight.shape
        self.a = nn.Parameter(torch.randn(rank, into, device=weight.device) / into**0.5)
        self.b = nn.Parameter(torch.zeros(out, rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        """W → W + b·a."""
        return weight + self.b @ self.a


def add_adapters(model: nn.Module, rank: int) -> int:
    """Freeze a model and put adapters of a rank on every linear attention projection; returns how many."""
    model.requires_grad_(False)
    count = 0
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and name.rsplit(".", 1)[-1] in _TARGETS:
            parametrize.register_parametrization(module, "weight", LowRank(module.weight, rank))
            count += 1
    return count


def merged(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with adapters → one of the plain model, products added to the weights; others come back
    unchanged.
    """
    plain: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.endswith(_ORIGINAL):
            layer = key[: -len(_ORIGINAL)]
            adapter = f"{layer}.parametrizations.weight.0"
            plain[f"{layer}.weight"] = value + state[f"{adapter}.b"] @ state[f"{adapter}.a"]
        elif ".parametrizations." not in key:
            plain[key] = value
    return plain
