"""Tokens read an image and it reads them: batches, masked tokens, the first block's rule."""

from __future__ import annotations

import pytest
import torch

from samphony.model.two_way_transformer import Attention, TwoWayTransformer


@pytest.fixture
def transformer() -> TwoWayTransformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TwoWayTransformer(2, 16, 2, 32).eval()


def test_one_image_under_many_prompts(transformer: TwoWayTransformer) -> None:
    image, code, tokens = torch.randn(1, 16, 4, 4), torch.randn(1, 16, 4, 4), torch.randn(3, 5, 16)
    shared = transformer(image, code, tokens)
    repeated = transformer(image.expand(3, -1, -1, -1).contiguous(), code.expand(3, -1, -1, -1), tokens)
    assert shared[0].shape == (3, 5, 16)
    assert shared[1].shape == (3, 16, 16)
    for a, b in zip(shared, repeated, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_masked_tokens_change_nothing(transformer: TwoWayTransformer) -> None:
    image, code, tokens = torch.randn(2, 16, 4, 4), torch.randn(1, 16, 4, 4), torch.randn(2, 5, 16)
    wanted = transformer(image, code, tokens)
    filled = torch.cat((tokens, 9 * torch.randn(2, 3, 16)), 1)
    mask = torch.tensor([[True] * 5 + [False] * 3] * 2)
    got = transformer(image, code, filled, mask)
    assert torch.allclose(got[0][:, :5], wanted[0], atol=1e-5)
    assert torch.allclose(got[1], wanted[1], atol=1e-5)


def test_first_block_attends_without_residual(transformer: TwoWayTransformer) -> None:
    """With a self-attention that gives nothing, the first block forgets its tokens; the second does not."""
    first, second = transformer.layers
    tokens, image = torch.randn(1, 3, 16), torch.randn(1, 4, 16)
    for block, forgets in ((first, True), (second, False)):
        torch.nn.init.zeros_(block.self_attn.out_proj.weight)
        torch.nn.init.zeros_(block.self_attn.out_proj.bias)
        zero = torch.zeros_like(tokens)
        given, _ = block(tokens, image, zero, torch.zeros_like(image))
        other, _ = block(tokens + torch.randn(1, 3, 16), image, zero, torch.zeros_like(image))
        assert torch.allclose(given, other, atol=1e-5) == forgets


def test_heads_must_divide_the_inner_width() -> None:
    with pytest.raises(ValueError, match="num_heads 3 must divide"):
        Attention(16, 3)
