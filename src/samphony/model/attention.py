"""Scaled dot-product attention in the form that is fastest for a shape, with one result."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

QUERY_BLOCK, KEY_BLOCK = 256, 4096
"""Scores of one block, 4 MiB in float32, stay in the cache between the two products."""


def attend(q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None) -> Tensor:
    """softmax(q·kᵀ/√d)·v over (B,heads,T,d), without dropout; keys where ``key_mask`` (B,T) is False do not count."""
    mask = None if key_mask is None else key_mask[:, None, None, :]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def attend_narrow(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q·kᵀ)·v for values much narrower than the keys, without gradients.

    The fused kernel wants values as wide as keys; here the second product costs only what the values' width asks for.
    Keys are taken in blocks with a running maximum (Milakov and Gimelshein, 2018), so the scores are never whole.

    Args:
        q: (B,heads,N,d), already scaled. k: (B,heads,T,d). v: (B,T,dv), shared by the heads.

    Returns:
        (B,heads,N,dv)
    """
    B, H, N, _ = q.shape
    out = v.new_empty(B, H, N, v.shape[-1])
    scores = q.new_empty(QUERY_BLOCK * min(KEY_BLOCK, k.shape[2]))
    for b in range(B):
        for h in range(H):
            for start in range(0, N, QUERY_BLOCK):
                rows = slice(start, start + QUERY_BLOCK)
                out[b, h, rows] = _attend_rows(q[b, h, rows], k[b, h], v[b], scores)
    return out


def _attend_rows(q: Tensor, k: Tensor, v: Tensor, buffer: Tensor) -> Tensor:
    """(n,d), (T,d), (T,dv) → (n,dv); ``buffer`` holds the scores of a block."""
    n = q.shape[0]
    top = q.new_full((n, 1), -torch.inf)
    total = q.new_zeros(n, 1)
    summed = v.new_zeros(n, v.shape[1])
    for start in range(0, k.shape[0], KEY_BLOCK):
        keys, values = k[start : start + KEY_BLOCK], v[start : start + KEY_BLOCK]
        scores = buffer[: n * keys.shape[0]].view(n, -1)
        torch.mm(q, keys.t(), out=scores)
        higher = torch.maximum(top, scores.amax(1, keepdim=True))
        weights = scores.sub_(higher).exp_()
        fade = (top - higher).exp_()
        total = total * fade + weights.sum(1, keepdim=True)
        summed = torch.addmm(summed * fade, weights, values)
        top = higher
    return summed / total
