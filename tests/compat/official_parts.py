"""A small network put together with official constructors, as packages and Hydra do."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn


def instantiate(tree: Any) -> Any:
    """What ``hydra.utils.instantiate`` makes of a configuration: each ``_target_`` called with its arguments."""
    if isinstance(tree, list):
        return [instantiate(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    arguments = {key: instantiate(value) for key, value in tree.items() if key != "_target_"}
    if "_target_" not in tree:
        return arguments
    place, _, name = tree["_target_"].rpartition(".")
    return getattr(importlib.import_module(place), name)(**arguments)


def small_config(image_size: int = 64, **flags: Any) -> dict[str, Any]:
    """The constructor arguments of a model of 2.1 with a small trunk; every other size is the released models'."""
    from samphony.compat.official_config import official_config
    from samphony.model.config import MODELS

    model: dict[str, Any] = official_config(MODELS["tiny"])["model"]
    model["image_encoder"]["trunk"] |= {"embed_dim": 8, "stages": [1, 1, 2, 1], "global_att_blocks": [2]}
    model["image_encoder"]["neck"]["backbone_channel_list"] = [64, 32, 16, 8]
    model["memory_attention"] |= {"num_layers": 1}
    return {**model, "image_size": image_size, **flags}


def small_model(**flags: Any) -> nn.Module:
    """Built by those arguments; in eval mode."""
    model: nn.Module = instantiate(small_config(**flags))
    return model.eval()
