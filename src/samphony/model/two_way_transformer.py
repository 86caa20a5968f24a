"""Two-way transformer of the mask decoder: tokens read the image, the image reads the tokens.

Source: Kirillov et al. (2023), section "mask decoder". Post-norm, ReLU MLP, layer-norm eps 1e-5.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samphony.model.attention import attend
from samphony.model.layers import MLP
from samphony.model.linear import Linear, eager_inference


class Attention(nn.Module):
    """Multi-head attention with an inner width of ``embedding_dim / downsample_rate``."""

    def __init__(self, embedding_dim: int, num_heads: int, downsample_rate: int = 1) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.internal_dim = embedding_dim // downsample_rate
        self.num_heads = num_heads
        if self.internal_dim % num_heads:
            raise ValueError(f"num_heads {num_heads} must divide the inner width {self.internal_dim}")
        self.q_proj = Linear(embedding_dim, self.internal_dim)
        self.k_proj = Linear(embedding_dim, self.internal_dim)
        self.v_proj = Linear(embedding_dim, self.internal_dim)
        self.out_proj = Linear(self.internal_dim, embedding_dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None) -> Tensor:
        """Queries (B,T,C), keys and values (B,T',C) → (B,T,C); keys where ``key_mask`` (B,T') is False do not count.

        A batch of one on either side stands for all of the other side: an image is projected once for many prompts.
        """
        if key_mask is None and q.shape[0] == k.shape[0] and eager_inference(q) and self._is_plain():
            # The projection of many vectors against few is cheaper done on the few: q·(Wk) = (qW)·k.
            if self.num_heads * q.shape[1] <= self.internal_dim < k.shape[1]:
                return few_queries(self, q, k, v)
            if self.num_heads * k.shape[1] <= self.internal_dim < q.shape[1]:
                return few_keys(self, q, k, v)
        q, k, v = self._heads(self.q_proj(q)), self._heads(self.k_proj(k)), self._heads(self.v_proj(v))
        B = max(q.shape[0], k.shape[0])
        if q.shape[0] != k.shape[0]:
            q, k, v = (t.expand(B, -1, -1, -1) for t in (q, k, v))
        out = attend(q, k, v, key_mask)  # (B,heads,T,d)
        return self.out_proj(out.transpose(1, 2).flatten(2))

    def _is_plain(self) -> bool:
        """No projection was replaced, by an adapter say: then it is its weight and bias that count."""
        return all(type(layer) is Linear for layer in (self.q_proj, self.k_proj, self.v_proj, self.out_proj))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def few_queries(attention: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of few tokens (B,T,C) to many (B,N,C), none of the many projected.

    The keys' bias adds the same to all scores of a query and falls out of the softmax; attention weights sum to one, so
    values can be projected after they are summed.
    """
    H, T, d = attention.num_heads, q.shape[1], attention.internal_dim // attention.num_heads
    queries = attention._heads(attention.q_proj(q)) * d**-0.5  # (B,H,T,d)
    queries = (queries @ attention.k_proj.weight.unflatten(0, (H, d))).flatten(1, 2)  # (B,HT,C)
    weights = (queries @ k.transpose(1, 2)).softmax(-1)  # (B,HT,N)
    summed = (weights @ v).unflatten(1, (H, T))  # (B,H,T,C)
    out = summed @ attention.v_proj.weight.unflatten(0, (H, d)).transpose(1, 2)  # (B,H,T,d)
    return attention.out_proj(out.transpose(1, 2).flatten(2) + attention.v_proj.bias)


def few_keys(attention: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of many tokens (B,N,C) to few (B,T,C), the query and output projections moved onto the few."""
    H, T, d = attention.num_heads, k.shape[1], attention.internal_dim // attention.num_heads
    keys = attention._heads(attention.k_proj(k)) * d**-0.5  # (B,H,T,d)
    offset = (keys @ attention.q_proj.bias.view(H, d, 1)).flatten(1)[:, None]  # (B,1,HT)
    keys = (keys @ attention.q_proj.weight.unflatten(0, (H, d))).flatten(1, 2)  # (B,HT,C)
    scores = torch.baddbmm(offset, q, keys.transpose(1, 2))  # (B,N,HT)
    weights = scores.unflatten(2, (H, T)).softmax(-1).flatten(2)
    values = attention._heads(attention.v_proj(v))  # (B,H,T,d)
    values = (values @ attention.out_proj.weight.unflatten(1, (H, d)).permute(1, 2, 0)).flatten(1, 2)  # (B,HT,C)
    return torch.baddbmm(attention.out_proj.bias, weights, values)


class TwoWayAttentionBlock(nn.Module):
    """Self-attention of the tokens, tokens to image, MLP, image to tokens.

    The first block's self-attention has neither position code nor residual.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_heads: int,
        mlp_dim: int = 2048,
        attention_downsample_rate: int = 2,
        skip_first_layer_pe: bool = False,
    ) -> None:
        super().__init__()
        self.self_attn = Attention(embedding_dim, num_heads)
        self.norm1 = nn.LayerNorm(embedding_dim)
        self.cross_attn_token_to_image = Attention(embedding_dim, num_heads, attention_downsample_rate)
        self.norm2 = nn.LayerNorm(embedding_dim)
        self.mlp = MLP(embedding_dim, mlp_dim, embedding_dim, 2, activation=F.relu)
        self.norm3 = nn.LayerNorm(embedding_dim)
        self.norm4 = nn.LayerNorm(embedding_dim)
        self.cross_attn_image_to_token = Attention(embedding_dim, num_heads, attention_downsample_rate)
        self.skip_first_layer_pe = skip_first_layer_pe

    def forward(
        self, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor, token_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B,T,C) and image (B or 1,hw,C) with their position codes → both, updated."""
        if self.skip_first_layer_pe:
            queries = self.self_attn(queries, queries, queries, token_mask)
        else:
            q = queries + query_pe
            queries = queries + self.self_attn(q, q, queries, token_mask)
        queries = self.norm1(queries)

        located = keys + key_pe
        queries = self.norm2(queries + self.cross_attn_token_to_image(queries + query_pe, located, keys))
        queries = self.norm3(queries + self.mlp(queries))
        keys = self.norm4(keys + self.cross_attn_image_to_token(located, queries + query_pe, queries, token_mask))
        return queries, keys


class TwoWayTransformer(nn.Module):
    """``depth`` two-way blocks and a last attention of the tokens to the image."""

    def __init__(
        self,
        depth: int,
        embedding_dim: int,
        num_heads: int,
        mlp_dim: int,
        attention_downsample_rate: int = 2,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayAttentionBlock(
                embedding_dim, num_heads, mlp_dim, attention_downsample_rate, skip_first_layer_pe=i == 0
            )
            for i in range(depth)
        )
        self.final_attn_token_to_image = Attention(embedding_dim, num_heads, attention_downsample_rate)
        self.norm_final_attn = nn.LayerNorm(embedding_dim)

    def forward(
        self, image_embedding: Tensor, image_pe: Tensor, point_embedding: Tensor, token_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Decode tokens against an image.

        Args:
            image_embedding: (B or 1,C,h,w); 1 stands for the same image under all B sets of tokens.
            image_pe: (B or 1,C,h,w).
            point_embedding: tokens (B,T,C), also used as their own position code.
            token_mask: (B,T), False for tokens that only fill a batch of unequal prompts.

        Returns:
            tokens (B,T,C) and image (B,hw,C).
        """
        keys = image_embedding.flatten(2).transpose(1, 2).contiguous()  # (B or 1,hw,C)
        key_pe = image_pe.flatten(2).transpose(1, 2).contiguous()
        queries = point_embedding
        for layer in self.layers:
            queries, keys = layer(queries, keys, point_embedding, key_pe, token_mask)
        attended = self.final_attn_token_to_image(queries + point_embedding, keys + key_pe, keys)
        return self.norm_final_attn(queries + attended), keys
