"""The attention to memories finds what has moved by what it looks like."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from samphony.errors import ConfigError
from samphony.model.base import SAM2Base
from samphony.model.build import build_model
from samphony.model.config import NANO
from samphony.model.memory import Recall, SpatialMemory
from samphony.model.position import axial_rotary_table
from samphony.train.initial import localise_memory
from samphony.train.matching import match_content, slow_dimensions
from samphony.train.photos import PhotoBatch
from samphony.weights.download import find_weights
from samphony.weights.load import load_weights

SIZE, CELLS = 128, 8
SMALL = replace(NANO, image_size=SIZE)


class Tiles:
    """Pictures of random coloured tiles, a cell each, with a square of them as the object."""

    def batch(self, seed: int, step: int, count: int, size: int) -> PhotoBatch:
        """As `PhotoSampler.batch`."""
        random = torch.Generator().manual_seed(1000 * seed + step)
        tiles = torch.randn(count, 3, CELLS, CELLS, generator=random)
        images = tiles.repeat_interleave(size // CELLS, 2).repeat_interleave(size // CELLS, 3)
        masks = torch.zeros(count, size, size, dtype=torch.bool)
        masks[:, size // 4 : size // 2, size // 4 : size // 2] = True
        return PhotoBatch(images, masks, torch.ones_like(masks), ("",) * count)


def _share_found(model: SAM2Base, shift: int) -> float:
    """Share of cells of a picture, moved by ``shift`` cells, whose strongest memory is where they were."""
    layers: Any = model.memory_attention.layers
    attention = layers[0].cross_attn_image
    seen: list[Tensor] = []
    hook = attention.register_forward_pre_hook(lambda _, args: seen.extend(args[:2]))
    batch = Tiles().batch(99, 0, 4, SIZE)
    with torch.no_grad():
        before = model.forward_image(batch.images)
        after = model.forward_image(batch.images.roll(shift * SIZE // CELLS, dims=-1))
        memory = model.encode_memory(before, 20.0 * batch.masks[:, None] - 10.0, torch.ones(4, 1), False)
        model.condition_on_memory(after, Recall((SpatialMemory(memory.features, memory.position, 3),), (), 1))
        hook.remove()
        q, k = attention.queries_and_keys(*seen, (CELLS, CELLS))
    found = (q @ k.transpose(2, 3))[:, 0].argmax(dim=-1)
    at = torch.arange(CELLS * CELLS)
    was = at - shift
    inside = (at % CELLS >= shift + 1) & (at % CELLS < CELLS - 1)  # the trunk pads beyond the rim
    return float((found == was)[:, inside].float().mean())


def test_what_has_moved_is_found() -> None:
    model = build_model(SMALL, seed=0)
    load_weights(model, find_weights("nano"))
    model.eval()
    localise_memory(model)
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    assert _share_found(model, 3) < 0.1
    photos: Any = Tiles()
    lines: list[str] = []
    match_content(model, photos, SIZE, seed=1, steps=50, report=lines.append)
    assert _share_found(model, 3) > 0.25  # by chance 0.02
    assert _share_found(model, 0) > 0.9, "what stays is found too"
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, kept[name])}
    first = ("memory_attention.layers.0.cross_attn_image.q_", "memory_attention.layers.0.cross_attn_image.k_")
    assert all(name.startswith((*first, "memory_encoder.")) for name in changed)
    assert len(changed) > 4
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not model.training
    (line,) = lines
    assert "50 of 50 steps" in line


def test_slow_dimensions_hardly_turn() -> None:
    cos, _ = axial_rotary_table(24, 24, 128, 10000.0, torch.device("cpu"))
    slow = slow_dimensions(128)
    assert len(slow) == len(slow.unique()) == 64
    turned = cos.repeat_interleave(2, dim=1).amin(dim=0)  # of each dimension, over the picture
    others = torch.ones(128, dtype=torch.bool)
    others[slow] = False
    assert float(turned[slow].min()) > 0.95
    assert float(turned[slow].min()) > float(turned[others].max())


def test_several_heads_are_refused() -> None:
    config = replace(SMALL, memory_attention=replace(SMALL.memory_attention, num_heads=2))
    photos: Any = Tiles()
    with pytest.raises(ConfigError, match="one head"):
        match_content(build_model(config, seed=0), photos, SIZE, seed=0, steps=1)
