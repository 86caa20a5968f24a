"""The official trunk: windows, pooling, position code, and its two ways of working."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samphony.model import hiera, layers
from samphony.model.config import MODELS, HieraConfig
from samphony.model.hiera import Hiera, MultiScaleBlock, pool_2x2, window_partition, window_unpartition

SMALL = HieraConfig(embed_dim=8, num_heads=1, stages=(1, 2, 3, 1), global_att_blocks=(4,), window_spec=(8, 4, 14, 7))


def build(config: HieraConfig = SMALL, seed: int = 0) -> Hiera:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk = Hiera(config).eval()
        torch.nn.init.normal_(trunk.pos_embed)
        torch.nn.init.normal_(trunk.pos_embed_window)
    return trunk


@given(st.integers(1, 2), st.integers(1, 17), st.integers(1, 17), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_windows_there_and_back(batch: int, height: int, width: int, window: int) -> None:
    x = torch.arange(batch * height * width * 3, dtype=torch.float32).reshape(batch, height, width, 3)
    windows, padded = window_partition(x, window)
    assert padded == (-(-height // window) * window, -(-width // window) * window)
    assert windows.shape == (batch * padded[0] * padded[1] // window**2, window, window, 3)
    assert torch.equal(window_unpartition(windows, window, padded, (height, width)), x)


def test_padding_is_zero_right_and_below() -> None:
    windows, _ = window_partition(torch.ones(1, 3, 5, 1), 4)
    assert windows.shape[0] == 2
    assert torch.equal(windows[0, :3], torch.ones(3, 4, 1))
    assert float(windows[0, 3].abs().sum()) == 0
    assert torch.equal(windows[1, :3, :1], torch.ones(3, 1, 1))
    assert float(windows.sum()) == 15


def test_pooling_takes_the_maximum_of_four() -> None:
    x = torch.arange(16.0).reshape(1, 4, 4, 1)
    assert pool_2x2(x).flatten().tolist() == [5, 7, 13, 15]


@pytest.mark.parametrize(
    ("model", "windows"),
    [
        ("tiny", [8, 8, 4, 4, 14, 0, 14, 0, 14, 0, 14, 7]),
        ("small", [8, 8, 4, 4, 14, 14, 14, 0, 14, 14, 0, 14, 14, 0, 14, 7]),
    ],
)
def test_the_first_block_of_a_stage_keeps_the_window_before(model: str, windows: list[int]) -> None:
    with torch.device("meta"):
        trunk = Hiera(MODELS[model].trunk)
    assert [block.window_size for block in trunk.blocks] == windows


@pytest.mark.parametrize(
    ("model", "pools"), [("tiny", [1, 3, 10]), ("small", [1, 3, 14]), ("base_plus", [2, 5, 21]), ("large", [2, 8, 44])]
)
def test_queries_are_pooled_where_a_stage_begins(model: str, pools: list[int]) -> None:
    with torch.device("meta"):
        trunk = Hiera(MODELS[model].trunk)
    assert [i for i, block in enumerate(trunk.blocks) if block.q_pool] == pools
    assert [b.attn.num_heads for b in trunk.blocks][:: len(trunk.blocks) - 1] == [
        MODELS[model].trunk.num_heads,
        MODELS[model].trunk.num_heads * 8,
    ]


@pytest.mark.parametrize("size", [(64, 64), (96, 96), (64, 160)])
def test_four_stages(size: tuple[int, int]) -> None:
    H, W = size
    out = build()(torch.randn(2, 3, H, W))
    assert [tuple(t.shape) for t in out] == [(2, 8 * 2**i, H // (4 * 2**i), W // (4 * 2**i)) for i in range(4)]


@pytest.mark.parametrize("size", [64, 96, 224])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("narrow", [False, True])
def test_with_and_without_gradients_the_same_numbers(
    size: int, batch: int, narrow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way without gradients works strip by strip."""
    if narrow:  # so that small pictures have many
        monkeypatch.setattr(hiera, "STRIP_BYTES", 1 << 10)
        monkeypatch.setattr(layers, "STRIP_BYTES", 1 << 10)
        monkeypatch.setattr(layers, "LEAST_TOKENS", 50)
    trunk = build()
    x = torch.randn(batch, 3, size, size)
    with_gradients = trunk(x)
    with torch.inference_mode():
        without = trunk(x)
    for a, b in zip(with_gradients, without, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_a_batch_equals_single_pictures() -> None:
    trunk = build()
    x = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        together = trunk(x)
        for i in range(3):
            for a, b in zip(together, trunk(x[i : i + 1]), strict=True):
                assert torch.allclose(a[i : i + 1], b, atol=1e-5)


def test_padding_is_attended_to() -> None:
    """A window that is filled up gives other numbers than one that is not: the padding has keys and values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = MultiScaleBlock(8, 8, 1, 4.0, 0.0, q_pool=False, window_size=5).eval()
        torch.nn.init.normal_(block.attn.qkv.bias)
    x = torch.randn(1, 4, 4, 8)
    exact = MultiScaleBlock(8, 8, 1, 4.0, 0.0, q_pool=False, window_size=4).eval()
    exact.load_state_dict(block.state_dict())
    assert not torch.allclose(block(x), exact(x), atol=1e-3)


def test_shortcut_is_pooled_from_the_normed_input() -> None:
    block = MultiScaleBlock(8, 16, 1, 4.0, 0.0, q_pool=True, window_size=4).eval()
    for name, parameter in block.named_parameters():
        if name.startswith(("attn.proj", "mlp.layers.1")):
            torch.nn.init.zeros_(parameter)
    x = torch.randn(1, 4, 4, 8)
    assert torch.allclose(block(x), pool_2x2(block.proj(block.norm1(x))), atol=1e-6)


def test_position_code_is_resized_and_tiled() -> None:
    trunk = build()
    code = trunk._position(24, 16, torch.float32)
    wanted = torch.nn.functional.interpolate(trunk.pos_embed, (24, 16), mode="bicubic")
    wanted = wanted + trunk.pos_embed_window.repeat(1, 1, 3, 2)
    assert torch.allclose(code, wanted.permute(0, 2, 3, 1), atol=1e-6)


def test_position_code_follows_its_parameters() -> None:
    """What is kept between calls is made anew when a parameter changes, in place or by loading."""
    trunk = build()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = trunk(x)[0]
        trunk.pos_embed.add_(1.0)
        changed = trunk(x)[0]
        other = build(seed=5)
        trunk.load_state_dict(other.state_dict())
        loaded = trunk(x)[0]
        assert not torch.allclose(before, changed, atol=1e-3)
        assert torch.equal(loaded, other(x)[0])


def test_drop_path_only_in_training() -> None:
    trunk = build(replace(SMALL, drop_path_rate=0.9))
    x = torch.randn(1, 3, 64, 64)
    assert torch.allclose(trunk(x)[-1], trunk(x)[-1])
    trunk.train()
    assert len({float(trunk(x)[-1].detach().sum()) for _ in range(5)}) > 1
    rates = [block.drop_path.drop_prob for block in trunk.blocks]
    assert rates[0] == 0.0
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.9)
