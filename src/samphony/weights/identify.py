"""Which model a state dict belongs to, read from its keys and shapes alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from samphony.model.build import build_model
from samphony.model.config import MODELS, HieraConfig, SAM2Config
from samphony.weights.registry import WEIGHTS

_TRUNK = "image_encoder.trunk."
_PATCH_EMBED = _TRUNK + "patch_embed.proj.weight"


def identify(state: Mapping[str, Tensor]) -> str | None:
    """Short name of the model that these weights are of, or None when they are of none in ``MODELS``.

    The released models differ in the width and the number of blocks of their trunks and, between 2.0 and 2.1,
    in the embedding of absent objects. Other models are compared key by key.
    """
    if "no_mem_embed" not in state:
        return None
    version = "2.1" if "no_obj_embed_spatial" in state else "2.0"
    for name, config in MODELS.items():
        if config.version != version or config.hidden_dim != state["no_mem_embed"].shape[-1]:
            continue
        if isinstance(config.trunk, HieraConfig):
            same = _PATCH_EMBED in state and _hiera_size(state) == (
                config.trunk.embed_dim,
                sum(config.trunk.stages),
            )
        else:
            same = shapes_of(config) == {key: tuple(value.shape) for key, value in state.items()}
        if same:
            return name
    return None


def describe_weights(state: Mapping[str, Tensor]) -> str:
    """What these weights are, in a few words for a message."""
    name = identify(state)
    if name in WEIGHTS:
        return f"weights of the model {name!r} ({WEIGHTS[name].official_name})"
    if name:
        return f"weights of the model {name!r}"
    if any(key.startswith("vision_encoder.") for key in state):
        return "weights in the naming of Hugging Face transformers; use the official .pt of the same model"
    if "no_mem_embed" in state and _PATCH_EMBED in state:
        width, blocks = _hiera_size(state)
        return f"weights of a SAM 2 model that is none of ours (Hiera of width {width} with {blocks} blocks)"
    if "no_mem_embed" in state:
        return "weights of a SAM 2 model with another trunk"
    return f"no weights of SAM 2 (keys such as {', '.join(sorted(state)[:3]) or 'none at all'})"


def shapes_of(config: SAM2Config) -> dict[str, tuple[int, ...]]:
    """Every key of a model's state dict with its shape; nothing is allocated."""
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in build_model(config).state_dict().items()}


def _hiera_size(state: Mapping[str, Tensor]) -> tuple[int, int]:
    """Width of the first stage and number of blocks."""
    prefix = _TRUNK + "blocks."
    blocks = {key[len(prefix) :].split(".")[0] for key in state if key.startswith(prefix)}
    return state[_PATCH_EMBED].shape[0], len(blocks)
