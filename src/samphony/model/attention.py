"""Scaled dot-product attention in the form that is fastest for a shape, with one result."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from samphony.model.linear import add_product

KEYS = 1024
"""Keys of a block."""
_LAST_CACHE = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")


def attend(q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None) -> Tensor:
    """softmax(q·kᵀ/√d)·v over (B,heads,T,d), without dropout; keys where ``key_mask`` (B,T) is False do not count."""
    mask = None if key_mask is None else key_mask[:, None, None, :]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def attend_narrow(q: Tensor, keys: Callable[[int, int, int], Tensor], v: Tensor) -> Tensor:
    """softmax(q·kᵀ)·v for values much narrower than the keys, without gradients.

    The fused kernel wants values as wide as keys; here the second product costs only what the values' width asks for.
    Keys are made and taken in blocks, so neither all keys nor all scores are ever there. Weights are exp(score -
    reference) with a query's best score in the first block as its reference, which any number near the best one may be:
    so a block is passed over twice, where a running maximum takes several more passes.

    Args:
        q: (B,heads,N,d), already scaled.
        keys: called with an item of the batch and the first and last token (exclusive): keys (heads,t,d).
        v: (B,T,dv), shared by the heads.

    Returns:
        (B,heads,N,dv)
    """
    B, H, N, _ = q.shape
    out = v.new_empty(B, H, N, v.shape[-1])
    total = q.new_empty(H, N, 1)
    for b in range(B):
        keys_of = partial(keys, b)
        _sum_blocks(q[b], keys_of, v[b], None, out[b], total)
        if not total.isfinite().all():  # a later score lies more than 88 above the reference: find the best of all
            _sum_blocks(q[b], keys_of, v[b], _best_scores(q[b], keys_of, v.shape[1]), out[b], total)
        out[b] /= total
    return out


def _sum_blocks(
    q: Tensor, keys: Callable[[int, int], Tensor], v: Tensor, reference: Tensor | None, out: Tensor, total: Tensor
) -> None:
    """Values (T,dv) summed into ``out`` (heads,N,dv) by the weights of q (heads,N,d), whose sums are ``total``."""
    H, N, _ = q.shape
    n = min(queries_of_block(), N)
    buffer = q.new_empty(n * min(KEYS, len(v)))
    out.zero_()
    total.zero_()
    # One more dimension, of ones in the keys, takes the reference off within the product.
    q = F.pad(q, (0, 1))
    if reference is not None:
        torch.neg(reference, out=q[..., -1:])
    for start in range(0, len(v), KEYS):
        values = v[start : start + KEYS]
        k = F.pad(keys(start, start + len(values)), (0, 1), value=1.0)
        for h in range(H):
            for row in range(0, N, n):
                rows = slice(row, row + n)
                block = q[h, rows]
                weights = buffer[: len(block) * len(values)].view(len(block), -1)
                torch.mm(block, k[h].t(), out=weights)
                if reference is None and start == 0:
                    best = weights.amax(1, keepdim=True)
                    weights -= best
                    torch.neg(best, out=block[:, -1:])
                weights.exp_()
                total[h, rows] += weights.sum(1, keepdim=True)
                add_product(out[h, rows], weights, values)


def _best_scores(q: Tensor, keys: Callable[[int, int], Tensor], count: int) -> Tensor:
    """The best score of each query of q (heads,N,d) with ``count`` keys: (heads,N,1)."""
    best = q.new_full((*q.shape[:2], 1), -torch.inf)
    for start in range(0, count, KEYS):
        k = keys(start, min(start + KEYS, count))
        torch.maximum(best, (q @ k.transpose(1, 2)).amax(2, keepdim=True), out=best)
    return best


@lru_cache(maxsize=1)
def queries_of_block() -> int:
    """Queries of a block: its scores stay in the cache between the two products, and long blocks make fast products.

    Scores take half of the last cache, but 4 to 16 MiB (measured: 1024 queries with a cache of 8 MiB, 4096 with more).
    """
    try:
        cache = int(_LAST_CACHE.read_text().strip().removesuffix("K")) << 10
    except (OSError, ValueError):  # other systems, or no third level
        cache = 0
    return min(max(cache // 2, 4 << 20), 16 << 20) // (4 * KEYS)
