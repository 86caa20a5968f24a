"""Attention in blocks gives the numbers of attention in one piece."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from samphony.model import attention
from samphony.model.attention import KEYS, attend, attend_narrow, queries_of_block


@pytest.mark.parametrize("keys", [7, KEYS, KEYS + 1, 2 * KEYS + 300])
@pytest.mark.parametrize("scale", [0.3, 40.0], ids=["flat", "sharp"])
def test_narrow_values_in_blocks(keys: int, scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "queries_of_block", lambda: KEYS)
    torch.manual_seed(keys)
    q, k = torch.randn(1, 2, KEYS + 5, 8) * scale, torch.randn(1, 2, keys, 8)
    v = torch.randn(1, keys, 3)
    want = F.scaled_dot_product_attention(q, k, v[:, None].expand(-1, 2, -1, -1), scale=1.0)
    with torch.no_grad():
        got = attend_narrow(q, lambda b, start, stop: k[b, :, start:stop], v)
    torch.testing.assert_close(got, want, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize(
    ("size", "queries"), [("8192K\n", 1024), ("491520K\n", 4096), ("16384K\n", 2048), ("", 1024), (None, 1024)]
)
def test_blocks_fit_the_last_cache(
    size: str | None, queries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "size"
    if size is not None:
        file.write_text(size)
    monkeypatch.setattr(attention, "_LAST_CACHE", file)
    assert queries_of_block.__wrapped__() == queries


def test_masked_keys_do_not_count() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 4) for n in (5, 6, 6))
    mask = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    got = attend(q, k, v, mask)
    torch.testing.assert_close(got[0], attend(q[:1], k[:1, :, :4], v[:1, :, :4])[0])
    torch.testing.assert_close(got[1], attend(q[1:], k[1:], v[1:])[0])
