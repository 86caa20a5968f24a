"""Memory attention: conditions a frame on its memories and object pointers.

Pre-norm layers of self-attention, cross-attention to the memories and a ReLU MLP. Queries and keys carry axial rotary
positions (Su et al., 2021; Heo et al., 2024), as adjacent pairs and in real numbers; pointer tokens carry none.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samphony.model.attention import KEYS, attend, attend_narrow
from samphony.model.config import MemoryAttentionConfig
from samphony.model.layers import add_in_strips
from samphony.model.linear import Linear, eager_inference, linear_relu
from samphony.model.position import axial_rotary_table, rotate, rotate_halves


class RoPEAttention(nn.Module):
    """Attention with axial rotary positions on queries and keys."""

    def __init__(self, embedding_dim: int, num_heads: int, theta: float, kv_in_dim: int | None = None) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.theta = theta
        self.head_dim = embedding_dim // num_heads
        kv_in_dim = embedding_dim if kv_in_dim is None else kv_in_dim
        self.q_proj = Linear(embedding_dim, embedding_dim)
        self.k_proj = Linear(kv_in_dim, embedding_dim)
        self.v_proj = Linear(kv_in_dim, embedding_dim)
        self.out_proj = Linear(embedding_dim, embedding_dim)

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        grid: tuple[int, int],
        num_k_exclude_rope: int = 0,
        key_pool: int = 1,
    ) -> Tensor:
        """Attend.

        Args:
            q: (B,N,C), N = h·w of ``grid``.
            k, v: (B,T,·); T - ``num_k_exclude_rope`` is a multiple of the tokens of one memory.
            grid: (h, w) of the queries.
            num_k_exclude_rope: that many last keys (pointer tokens) are not turned.
            key_pool: a memory's grid is smaller than the queries' by this factor.
        """
        if self._can_keep_values_narrow(v):
            return self._attend_narrow(q, k, v, grid, num_k_exclude_rope, key_pool)
        q, k = self.queries_and_keys(q, k, grid, num_k_exclude_rope, key_pool)
        out = attend(q, k, self._heads(self.v_proj(v)))
        return self.out_proj(out.transpose(1, 2).flatten(2))

    def queries_and_keys(
        self, q: Tensor, k: Tensor, grid: tuple[int, int], num_k_exclude_rope: int = 0, key_pool: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Projected and turned, by head: (B,heads,N,d) and (B,heads,T,d). Arguments as of ``forward``."""
        q, k = self._heads(self.q_proj(q)), self._heads(self.k_proj(k))
        h, w = grid
        q = rotate(q, axial_rotary_table(h, w, self.head_dim, self.theta, q.device))
        turned = k.shape[-2] - num_k_exclude_rope
        if turned:
            table = axial_rotary_table(h // key_pool, w // key_pool, self.head_dim, self.theta, k.device, key_pool)
            frames = k[:, :, :turned].unflatten(2, (-1, table[0].shape[0]))  # (B,heads,F,tokens,d)
            k = torch.cat((rotate(frames, table).flatten(2, 3), k[:, :, turned:]), dim=2)
        return q, k

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def _can_keep_values_narrow(self, v: Tensor) -> bool:
        plain = all(type(layer) is Linear for layer in (self.q_proj, self.k_proj, self.v_proj))  # no adapters
        float32 = v.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        return plain and float32 and 2 * v.shape[-1] <= self.head_dim and eager_inference(v)

    def _attend_narrow(
        self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int], num_k_exclude_rope: int, key_pool: int
    ) -> Tensor:
        """``forward`` with less work: attention weights sum to one, so values are projected after they are summed.

        Queries and keys are projected with their dimensions in another order, the same for both: first the even ones,
        then the odd ones, which makes the rotation of pairs two long vectors' work. Their products do not change.
        """
        h, w = grid
        q = self._heads(F.linear(q, *self._in_halves(self.q_proj)))
        q = rotate_halves(q.mul_(self.head_dim**-0.5), axial_rotary_table(h, w, self.head_dim, self.theta, q.device))
        weight, bias = self._in_halves(self.k_proj)
        cell = axial_rotary_table(h // key_pool, w // key_pool, self.head_dim, self.theta, k.device, key_pool)
        tokens, turned = len(cell[0]), k.shape[1] - num_k_exclude_rope
        # A block may begin anywhere in a memory and reach over its end.
        repeats = 1 + -(-KEYS // tokens)
        cos, sin = (t.repeat(repeats, 1) for t in cell)

        def keys(item: int, start: int, stop: int) -> Tensor:
            made = F.linear(k[item, start:stop], weight, bias).unflatten(-1, (self.num_heads, -1)).transpose(0, 1)
            count = min(stop, turned) - start
            if count <= 0:
                return made
            at = slice(start % tokens, start % tokens + count)
            located = rotate_halves(made[:, :count], (cos[at], sin[at]))
            return located if count == stop - start else torch.cat((located, made[:, count:]), dim=1)

        summed = attend_narrow(q, keys, v)  # (B,heads,N,Cm)
        out = summed @ self.v_proj.weight.unflatten(0, (self.num_heads, -1)).transpose(1, 2)  # (B,heads,N,d)
        return self.out_proj(out.transpose(1, 2).flatten(2) + self.v_proj.bias)

    def _in_halves(self, layer: Linear) -> tuple[Tensor, Tensor]:
        """Weight and bias of a projection with the even dimensions of each head first."""
        order = torch.arange(layer.out_features, device=layer.weight.device)
        order = order.view(self.num_heads, -1, 2).transpose(1, 2).flatten()
        return layer.weight[order], layer.bias[order]


class MemoryAttentionLayer(nn.Module):
    """Self-attention, attention to the memories, MLP; each pre-norm with a residual."""

    def __init__(self, d_model: int, memory_dim: int, config: MemoryAttentionConfig, dropout: float = 0.1) -> None:
        super().__init__()
        self.self_attn = RoPEAttention(d_model, config.num_heads, config.rope_theta)
        self.cross_attn_image = RoPEAttention(d_model, config.num_heads, config.rope_theta, memory_dim)
        self.hidden_dim = config.dim_feedforward
        self.linear1 = Linear(d_model, config.dim_feedforward)
        self.linear2 = Linear(config.dim_feedforward, d_model)
        self.norm1 = nn.LayerNorm(d_model)
        self.norm2 = nn.LayerNorm(d_model)
        self.norm3 = nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        located: Tensor,
        grid: tuple[int, int],
        num_obj_ptr_tokens: int,
        key_pool: int,
    ) -> Tensor:
        """x (B or 1,N,C), memory (B,T,Cm), located = memory + its position code → (B,N,C)."""
        n = self.norm1(x)
        x = x + self.dropout(self.self_attn(n, n, n, grid))
        # Objects of a frame share its tokens until they meet their memories.
        x = x.expand(memory.shape[0], -1, -1)
        n = self.norm2(x)
        x = x + self.dropout(self.cross_attn_image(n, located, memory, grid, num_obj_ptr_tokens, key_pool))
        if self.training or not eager_inference(x):
            return x + self.dropout(self._mlp(x))
        add_in_strips(x.flatten(0, 1), self._mlp, self.hidden_dim)
        return x

    def _mlp(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(linear_relu(self.linear1, self.norm3(x))))


class MemoryAttention(nn.Module):
    """A stack of memory attention layers and a last norm."""

    def __init__(self, d_model: int, memory_dim: int, config: MemoryAttentionConfig, memory_pool: int = 1) -> None:
        super().__init__()
        self.d_model = d_model
        self.memory_pool = memory_pool
        self.pos_enc_at_input = config.pos_enc_at_input
        self.layers = nn.ModuleList(MemoryAttentionLayer(d_model, memory_dim, config) for _ in range(config.num_layers))
        self.num_layers = config.num_layers
        self.norm = nn.LayerNorm(d_model)

    def forward(
        self,
        curr: Tensor,
        memory: Tensor,
        curr_pos: Tensor | None = None,
        memory_pos: Tensor | None = None,
        num_obj_ptr_tokens: int = 0,
        grid: tuple[int, int] | None = None,
    ) -> Tensor:
        """Condition the tokens of a frame.

        Args:
            curr: (B,N,C), or (1,N,C) shared by all objects.
            memory: (B,T,Cm): whole memories of equal size, then ``num_obj_ptr_tokens`` pointer tokens.
            curr_pos: (B or 1,N,C), added once with a weight of 0.1.
            memory_pos: (B or 1,T,Cm), added to the keys.
            grid: (h, w) with h·w = N; a square by default.
        """
        if grid is None:
            side = math.isqrt(curr.shape[1])
            grid = (side, side)
        x = curr if curr_pos is None else curr + self.pos_enc_at_input * curr_pos
        memory = memory.to(x.dtype)
        located = memory if memory_pos is None else memory + memory_pos
        for layer in self.layers:
            x = layer(x, memory, located, grid, num_obj_ptr_tokens, self.memory_pool)
        return self.norm(x)
