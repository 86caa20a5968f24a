"""Scaled dot-product attention in the form that is fastest for a shape, with one result."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def attend(q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None) -> Tensor:
    """softmax(q·kᵀ/√d)·v over (B,heads,T,d), without dropout; keys where ``key_mask`` (B,T) is False do not count."""
    mask = None if key_mask is None else key_mask[:, None, None, :]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
