"""Optimiser, schedule and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from samphony.train.recipe import OptimRecipe

_TRUNK = "image_encoder.trunk."
_SCALE = 0.05
"""Root mean square of a tensor that learns at the trunk's own rate, where rates go by scale."""
_LEAST_SCALE = 0.005


def build_optimizer(model: nn.Module, recipe: OptimRecipe) -> torch.optim.AdamW:
    """AdamW; the trunk's rate falls towards its input, biases and norms do not decay. Frozen parameters stay out."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    depth = len(trunk_layers(model))
    for name, parameter in model.named_parameters():
        if name.startswith(recipe.freeze) and recipe.freeze:
            parameter.requires_grad_(False)
        if not parameter.requires_grad:
            continue
        rate = recipe.lr
        if name.startswith(_TRUNK):
            rate = recipe.trunk_lr * recipe.layer_decay ** (depth - trunk_layer(name, depth))
            if recipe.trunk_by_scale:
                rate *= max(float(parameter.detach().square().mean().sqrt()), _LEAST_SCALE) / _SCALE
                rate = _rounded(rate)
        decay = 0.0 if parameter.ndim < 2 or name.endswith(".bias") else recipe.weight_decay
        groups.setdefault((rate, decay), []).append(parameter)
    cuda = next(model.parameters()).device.type == "cuda"
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate, "base_lr": rate, "weight_decay": decay}
            for (rate, decay), parameters in groups.items()
        ],
        betas=(0.9, 0.999),
        foreach=not cuda,
        fused=cuda,
    )


def _rounded(rate: float) -> float:
    """The nearest quarter octave, at most 9 % away: tensors share a group, and so an update's launch on a GPU.

    The nano's trunk has 37 groups so, not 128.
    """
    return float(2 ** (round(4 * math.log2(rate)) / 4)) if rate > 0 else rate


def trunk_layers(model: nn.Module) -> list[str]:
    """Names of the trunk's blocks, shallow to deep."""
    return sorted(
        {name.split(".")[3] for name, _ in model.named_parameters() if name.startswith(_TRUNK + "blocks.")},
        key=int,
    )


def trunk_layer(name: str, depth: int) -> int:
    """Number of the block a trunk parameter belongs to; stems and position codes come before the first."""
    parts = name.split(".")
    if parts[2] == "blocks":
        return int(parts[3])
    return 0 if parts[2] != "norm" else depth


def rate_factor(step: int, steps: int, recipe: OptimRecipe) -> float:
    """Share of the base rate at a step: a linear warm-up, a plateau, a cosine down to ``final``."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    start = max(recipe.hold * steps, recipe.warmup)
    if step <= start or steps <= start:
        return 1.0
    progress = min((step - start) / (steps - start), 1.0)
    return recipe.final + (1 - recipe.final) * 0.5 * (1 + math.cos(math.pi * progress))


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Scale every group's base rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


class MovingAverage:
    """Exponential moving average of a model's trainable parameters; young averages follow faster."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.names = [name for name, p in model.named_parameters() if p.requires_grad]
        self.values = [p.detach().clone() for p in _trainable(model)]

    def update(self, model: nn.Module, step: int) -> None:
        """Take in the parameters after a step."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, [p.detach() for p in _trainable(model)], 1 - decay)

    def exchange(self, model: nn.Module) -> None:
        """Swap the model's parameters with the average; a second call swaps back."""
        with torch.no_grad():
            for value, parameter in zip(self.values, _trainable(model), strict=True):
                kept = parameter.detach().clone()
                parameter.copy_(value)
                value.copy_(kept)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged parameters by name."""
        return dict(zip(self.names, self.values, strict=True))

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take averages from a checkpoint; parameters it does not know keep their values."""
        for name, value in zip(self.names, self.values, strict=True):
            if name in state:
                value.copy_(state[name])


def _trainable(model: nn.Module) -> Iterable[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]
