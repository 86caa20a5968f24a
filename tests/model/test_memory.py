"""Memory encoder and memory attention."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from samphony.model import layers, memory_encoder
from samphony.model.config import MemoryAttentionConfig, MemoryEncoderConfig
from samphony.model.memory import (
    MemoryTokens,
    SpatialMemory,
    concatenate,
    pointer_tokens,
    spatial_tokens,
)
from samphony.model.memory_attention import MemoryAttention
from samphony.model.memory_encoder import MaskDownSampler, MemoryEncoder
from samphony.model.position import sine_position_2d

ENCODER = MemoryEncoderConfig(out_dim=8, fuser_layers=1)
ATTENTION = MemoryAttentionConfig(num_layers=2, dim_feedforward=32)


def encoder(**changes: object) -> MemoryEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MemoryEncoder(16, replace(ENCODER, **changes)).eval()


def attention(pool: int = 1) -> MemoryAttention:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MemoryAttention(16, 8, ATTENTION, pool).eval()


def test_a_memory_is_as_fine_as_the_features() -> None:
    memory = encoder()(torch.randn(2, 16, 4, 4), torch.randn(2, 1, 64, 64))
    assert memory.features.shape == memory.position.shape == (2, 8, 4, 4)
    assert torch.equal(memory.position[:1], sine_position_2d(4, 4, 8, torch.device("cpu")))


def test_a_pooled_memory_is_coarser() -> None:
    features, mask = torch.randn(1, 16, 4, 4), torch.randn(1, 1, 64, 64)
    memory = encoder(pool=2)(features, mask)
    assert memory.features.shape == memory.position.shape == (1, 8, 2, 2)
    whole = encoder()(features, mask).features
    assert torch.allclose(memory.features, torch.nn.functional.avg_pool2d(whole, 2), atol=1e-6)


def test_sigmoid_is_taken_unless_it_was() -> None:
    features, mask = torch.randn(1, 16, 4, 4), torch.randn(1, 1, 64, 64)
    taken = encoder()(features, mask)
    given = encoder()(features, mask.sigmoid(), skip_mask_sigmoid=True)
    assert torch.equal(taken.features, given.features)


def test_one_picture_under_many_masks() -> None:
    features, masks = torch.randn(1, 16, 4, 4), torch.randn(3, 1, 64, 64)
    together = encoder()(features, masks)
    assert together.features.shape == (3, 8, 4, 4)
    assert torch.allclose(together.features[1:2], encoder()(features, masks[1:2]).features, atol=1e-5)


@pytest.mark.parametrize("pictures", [1, 3])
@pytest.mark.parametrize("together", [1, 2])
def test_many_masks_are_encoded_a_few_at_a_time(pictures: int, together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    features, masks = torch.randn(pictures, 16, 4, 4), torch.randn(3, 1, 64, 64)
    wanted = encoder()(features, masks).features.detach()
    monkeypatch.setattr(memory_encoder, "FEW_PIXELS", together * 64 * 64)
    with torch.inference_mode():
        torch.testing.assert_close(encoder()(features, masks).features, wanted, atol=1e-5, rtol=1e-5)


def test_mask_downsampler_widens_by_four() -> None:
    widths = [m.out_channels for m in MaskDownSampler(256).encoder if isinstance(m, torch.nn.Conv2d)]
    assert widths == [4, 16, 64, 256, 256]


# ------------------------------------------------------------------ tokens


def test_spatial_tokens_carry_place_and_age() -> None:
    memory = SpatialMemory(torch.randn(2, 8, 4, 4), torch.randn(1, 8, 4, 4), t_pos=3)
    age = torch.randn(1, 1, 8)
    tokens, positions = spatial_tokens(memory, age)
    assert tokens.shape == (2, 16, 8)
    assert torch.equal(tokens[1, 5], memory.features[1, :, 1, 1])
    assert torch.equal(positions[0, 5], memory.position[0, :, 1, 1] + age[0, 0])


def test_pointers_are_cut_into_tokens_of_one_age() -> None:
    pointers, codes = torch.randn(2, 3, 16), torch.randn(3, 8)
    tokens, positions = pointer_tokens(pointers, codes, 8)
    assert tokens.shape == (2, 6, 8)
    assert torch.equal(tokens[1, 2], pointers[1, 1, :8])
    assert torch.equal(tokens[1, 3], pointers[1, 1, 8:])
    assert torch.equal(positions[0, 2], codes[1])
    assert torch.equal(positions[0, 3], codes[1])


def test_memories_in_half_precision_are_joined_in_full() -> None:
    half = (torch.ones(1, 4, 8, dtype=torch.bfloat16), torch.zeros(1, 4, 8))
    joined = concatenate([half, (torch.ones(1, 2, 8), torch.zeros(1, 2, 8))], 2)
    assert isinstance(joined, MemoryTokens)
    assert joined.tokens.dtype == torch.float32
    assert joined.tokens.shape == joined.positions.shape == (1, 6, 8)
    assert joined.num_pointer_tokens == 2


# ------------------------------------------------------------------ attention


def call(layer: MemoryAttention, memory: torch.Tensor, position: torch.Tensor, pointers: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    current = torch.randn(1, 16, 16, generator=generator)
    code = torch.randn(1, 16, 16, generator=generator)
    return layer(current, memory, code, position, num_obj_ptr_tokens=pointers, grid=(4, 4))


def test_order_of_whole_memories_does_not_matter() -> None:
    layer, memory, position = attention(), torch.randn(1, 32, 8), torch.randn(1, 32, 8)
    swapped = [torch.cat((t[:, 16:], t[:, :16]), 1) for t in (memory, position)]
    assert torch.allclose(call(layer, memory, position), call(layer, *swapped), atol=1e-5)


def test_order_of_cells_matters_and_that_of_pointers_does_not() -> None:
    """Cells are turned by their place; pointer tokens are not."""
    layer = attention()
    memory, position = torch.randn(1, 20, 8), torch.zeros(1, 20, 8)
    wanted = call(layer, memory, position, pointers=4)
    cells = torch.cat((memory[:, :16].flip(1), memory[:, 16:]), 1)
    assert not torch.allclose(call(layer, cells, position, pointers=4), wanted, atol=1e-3)
    pointers = torch.cat((memory[:, :16], memory[:, 16:].flip(1)), 1)
    assert torch.allclose(call(layer, pointers, position, pointers=4), wanted, atol=1e-5)


def test_pointers_alone_can_be_attended_to() -> None:
    out = call(attention(), torch.randn(1, 4, 8), torch.zeros(1, 4, 8), pointers=4)
    assert out.shape == (1, 16, 16)
    assert bool(out.isfinite().all())


def test_memories_of_a_coarser_grid() -> None:
    out = call(attention(pool=2), torch.randn(1, 2 * 4 + 2, 8), torch.zeros(1, 10, 8), pointers=2)
    assert out.shape == (1, 16, 16)


def test_memories_stored_in_half_precision() -> None:
    memory, position = torch.randn(1, 16, 8).bfloat16(), torch.randn(1, 16, 8)
    layer = attention()
    assert torch.equal(call(layer, memory, position), call(layer, memory.float(), position))


def test_batches_equal_single_objects() -> None:
    layer = attention()
    current, memory = torch.randn(3, 16, 16), torch.randn(3, 16, 8)
    with torch.no_grad():
        together = layer(current, memory, grid=(4, 4))
        alone = torch.cat([layer(current[i : i + 1], memory[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_with_and_without_gradients_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way without gradients works strip by strip."""
    monkeypatch.setattr(layers, "STRIP_BYTES", 1)
    monkeypatch.setattr(layers, "LEAST_TOKENS", 5)
    layer, current, memory = attention(), torch.randn(1, 16, 16), torch.randn(3, 32, 8)
    wanted = layer(current, memory).detach()
    with torch.inference_mode():
        torch.testing.assert_close(layer(current, memory), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("grid", [(2, 8), (8, 2)])
def test_grids_that_are_no_squares(grid: tuple[int, int]) -> None:
    layer, current, memory = attention(), torch.randn(1, 16, 16), torch.randn(1, 16, 8)
    assert not torch.allclose(layer(current, memory, grid=grid), layer(current, memory), atol=1e-3)
