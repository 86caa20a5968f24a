"""A model from its configuration, with random parameters."""

from __future__ import annotations

import torch

from samphony.model.base import SAM2Base
from samphony.model.config import SAM2Config
from samphony.model.parts import build_image_encoder, build_memory_attention, build_memory_encoder


def build_model(config: SAM2Config, seed: int | None = None) -> SAM2Base:
    """Build the network that a configuration describes.

    Args:
        config: the dimensions and behaviour.
        seed: makes the random parameters repeatable without touching the global random state.
    """
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        return SAM2Base(
            build_image_encoder(config), build_memory_attention(config), build_memory_encoder(config), config
        )
