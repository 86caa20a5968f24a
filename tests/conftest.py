"""Shared fixtures: a real network, small enough that a test file runs in seconds.

``tiny_config`` describes it; ``tiny_model`` is built once per test process, in eval mode, from a fixed seed.
A test that changes the model must take ``fresh_tiny_model`` instead.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from samphony.model.config import (
    HieraConfig,
    MaskDecoderConfig,
    MemoryAttentionConfig,
    MemoryEncoderConfig,
    PromptEncoderConfig,
    SAM2Config,
)

if TYPE_CHECKING:
    from samphony.model.base import SAM2Base

OFFICIAL_KEYS = Path(__file__).parent / "data" / "official_keys.json.gz"

TINY = SAM2Config(
    name="test-tiny",
    image_size=64,
    hidden_dim=32,
    trunk=HieraConfig(
        embed_dim=8,
        num_heads=1,
        stages=(1, 1, 2, 1),
        global_att_blocks=(2,),
        window_spec=(8, 4, 4, 2),
        window_pos_embed_bkg_spatial_size=(4, 4),
    ),
    prompt_encoder=PromptEncoderConfig(mask_in_chans=8),
    mask_decoder=MaskDecoderConfig(num_heads=2, mlp_dim=64, iou_head_hidden_dim=32),
    memory_encoder=MemoryEncoderConfig(out_dim=8),
    memory_attention=MemoryAttentionConfig(num_layers=2, dim_feedforward=64),
)


def pytest_configure() -> None:
    """Workers share the processor: one test process must not take every core."""
    torch.set_num_threads(1)


def build_tiny(config: SAM2Config = TINY) -> SAM2Base:
    """A tiny model with seeded random weights, in eval mode."""
    from samphony.model.build import build_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_model(config).eval()


@pytest.fixture(scope="session")
def tiny_config() -> SAM2Config:
    """A 64-pixel 2.1 model: C = 32, Cm = 8, embedding 4 × 4, masks 16 × 16."""
    return TINY


@pytest.fixture(scope="session")
def tiny_model() -> SAM2Base:
    """The model of ``tiny_config``; shared, so read only."""
    return build_tiny()


@pytest.fixture
def fresh_tiny_model() -> Callable[[SAM2Config], SAM2Base]:
    """A function that builds a tiny model of its own for a test that changes it."""
    return build_tiny


@pytest.fixture
def photo() -> np.ndarray:
    """A small RGB uint8 picture (48, 80, 3): a bright square on a textured ground."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 80, (48, 80, 3), dtype=np.uint8)
    picture[12:36, 24:56] = (230, 180, 60)
    return picture


@pytest.fixture(scope="session")
def official_keys() -> dict[str, dict[str, tuple[int, ...]]]:
    """Official configuration name (``sam2.1_hiera_t``) -> every key of its state dict with its shape."""
    models = json.loads(gzip.decompress(OFFICIAL_KEYS.read_bytes()))
    return {name: {key: tuple(shape) for key, shape in model["keys"].items()} for name, model in models.items()}
