"""Whether a model may predict: random parameters only when asked for in so many words."""

from __future__ import annotations

from typing import Any

from torch import nn

from samphony.errors import StateError


def mark_random(model: nn.Module) -> None:
    """Say that a model has no weights yet; loading a complete state dict takes the mark away."""
    model._has_random_weights = True  # type: ignore[assignment]
    model.register_load_state_dict_post_hook(_unmark)


def _unmark(module: nn.Module, incompatible: Any) -> None:
    if not incompatible.missing_keys:
        module._has_random_weights = False  # type: ignore[assignment]


def require_weights(model: nn.Module) -> None:
    """Raise StateError for a model that was built without weights."""
    if getattr(model, "_has_random_weights", False):
        raise StateError(
            "this model was built without weights: give ckpt_path, call load_state_dict, use from_pretrained, or build "
            "it with random_weights=True if random numbers are what you want"
        )
