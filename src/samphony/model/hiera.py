"""The official trunk: Hiera (Ryali et al., 2023), a transformer of windows with pooling between its stages.

Tokens are kept as (B,H,W,C) throughout. What ports get wrong: the first block of a stage still uses the window of
the stage before; its shortcut is pooled from the *normalised* input; windows are padded after the norm and the padding
is attended to.
"""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samphony.model.attention import attend
from samphony.model.config import HieraConfig
from samphony.model.layers import MLP, STRIP_BYTES, DropPath, add_in_strips
from samphony.model.linear import Linear, eager_inference

LN_EPS = 1e-6


def window_partition(x: Tensor, window: int) -> tuple[Tensor, tuple[int, int]]:
    """(B,H,W,C) → (B·n, window, window, C) and the padded size (Hp, Wp); zeros are added right and below."""
    B, H, W, C = x.shape
    pad_h, pad_w = -H % window, -W % window
    if pad_h or pad_w:
        x = F.pad(x, (0, 0, 0, pad_w, 0, pad_h))
    Hp, Wp = H + pad_h, W + pad_w
    x = x.view(B, Hp // window, window, Wp // window, window, C)
    return x.transpose(2, 3).reshape(-1, window, window, C), (Hp, Wp)


def window_unpartition(windows: Tensor, window: int, padded: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Inverse of ``window_partition``: back to (B,H,W,C), padding cut off."""
    (Hp, Wp), (H, W) = padded, size
    B = windows.shape[0] * window * window // (Hp * Wp)
    x = windows.view(B, Hp // window, Wp // window, window, window, -1).transpose(2, 3).reshape(B, Hp, Wp, -1)
    return x[:, :H, :W]


def pool_2x2(x: Tensor) -> Tensor:
    """Maximum over 2×2 tokens: (B,H,W,C) → (B,H/2,W/2,C)."""
    return F.max_pool2d(x.permute(0, 3, 1, 2), 2, 2).permute(0, 2, 3, 1)


class MultiScaleAttention(nn.Module):
    """Self-attention over the tokens of a window (or of all), with optional pooling of the queries."""

    def __init__(self, dim: int, dim_out: int, num_heads: int, q_pool: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_pool = q_pool
        self.qkv = Linear(dim, 3 * dim_out)
        self.proj = Linear(dim_out, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B,H,W,dim) → (B,H',W',dim_out), halved when the queries are pooled."""
        B, H, W, _ = x.shape
        q, k, v = self.qkv(x).view(B, H * W, 3, self.num_heads, -1).unbind(2)  # each (B,T,heads,d)
        if self.q_pool:
            q = pool_2x2(q.reshape(B, H, W, -1))
            H, W = q.shape[1:3]
            q = q.reshape(B, H * W, self.num_heads, -1)
        out = attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))  # (B,heads,T',d)
        return self.proj(out.transpose(1, 2).reshape(B, H, W, -1))


class MultiScaleBlock(nn.Module):
    """Attention and MLP with residuals; ``window_size`` 0 attends globally."""

    def __init__(
        self,
        dim: int,
        dim_out: int,
        num_heads: int,
        mlp_ratio: float,
        drop_path: float,
        q_pool: bool,
        window_size: int,
    ) -> None:
        super().__init__()
        self.dim, self.dim_out = dim, dim_out
        self.q_pool = q_pool
        self.window_size = window_size
        self.norm1 = nn.LayerNorm(dim, eps=LN_EPS)
        self.attn = MultiScaleAttention(dim, dim_out, num_heads, q_pool)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim_out, eps=LN_EPS)
        self.mlp = MLP(dim_out, int(dim_out * mlp_ratio), dim_out, 2, activation=F.gelu)
        if dim != dim_out:
            self.proj = Linear(dim, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B,H,W,dim) → (B,H',W',dim_out)."""
        if self.training or not eager_inference(x):
            x = self._add_attention(x)
            return x + self.drop_path(self.mlp(self.norm2(x)))
        B, H, W, _ = x.shape
        shrink = 2 if self.q_pool else 1
        out = x.new_empty(B, H // shrink, W // shrink, self.dim_out)
        if self.window_size == 0:
            self._add_attention(x, out)
        else:
            rows = self._strip_rows(B * W, x.element_size())
            for top in range(0, H, rows):  # windows know nothing of each other: a strip of them is a picture of its own
                self._add_attention(x[:, top : top + rows], out[:, top // shrink : (top + rows) // shrink])
        add_in_strips(out.view(-1, self.dim_out), lambda strip: self.mlp(self.norm2(strip)), 4 * self.dim_out)
        return out

    def _strip_rows(self, tokens_per_row: int, element_size: int) -> int:
        """Rows of a strip: whole windows, at least one."""
        row_bytes = tokens_per_row * 3 * self.dim_out * element_size
        return max(STRIP_BYTES // (row_bytes * self.window_size), 1) * self.window_size

    def _add_attention(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """The attention half of the block, into ``out`` if given."""
        normed = self.norm1(x)
        shortcut = x
        if self.dim != self.dim_out:
            shortcut = self.proj(normed)
            if self.q_pool:
                shortcut = pool_2x2(shortcut)
        return torch.add(shortcut, self.drop_path(self._attend(normed)), out=out)

    def _attend(self, normed: Tensor) -> Tensor:
        if self.window_size == 0:
            return self.attn(normed)
        H, W = normed.shape[1:3]
        windows, padded = window_partition(normed, self.window_size)
        windows = self.attn(windows)
        if not self.q_pool:
            return window_unpartition(windows, self.window_size, padded, (H, W))
        # The padded size of the pooled picture is counted anew from its own size, as the official trunk does.
        window, H, W = self.window_size // 2, H // 2, W // 2
        return window_unpartition(windows, window, (H + -H % window, W + -W % window), (H, W))


class PatchEmbed(nn.Module):
    """7×7 convolution with stride 4: pixels to tokens."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, 7, stride=4, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """(B,3,H,W) → (B,H/4,W/4,C)."""
        # Channels-last: faster here, and the tokens come out as the blocks want them, without a copy.
        return self.proj(x.contiguous(memory_format=torch.channels_last)).permute(0, 2, 3, 1)


class Hiera(nn.Module):
    """The trunk: four stages at strides 4, 8, 16, 32."""

    def __init__(self, config: HieraConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = config.channels
        self.patch_embed = PatchEmbed(config.embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.embed_dim, *config.window_pos_embed_bkg_spatial_size))
        window = config.window_spec[0]
        self.pos_embed_window = nn.Parameter(torch.zeros(1, config.embed_dim, window, window))
        self.blocks = nn.ModuleList(_blocks(config))
        ends = [sum(config.stages[: i + 1]) - 1 for i in range(len(config.stages))]
        self.stage_ends = ends
        self._position_cache: tuple[object, Tensor] | None = None

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B,3,H,W) → features of the four stages, shallow to deep, each (B,C_i,H_i,W_i)."""
        x = self.patch_embed(x)
        x = x + self._position(x.shape[1], x.shape[2], x.dtype)
        out = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.stage_ends:
                out.append(x.permute(0, 3, 1, 2))
        return out

    @property
    def channel_list(self) -> list[int]:
        """Official name: channels of the stages, deep to shallow."""
        return list(self.channels[::-1])

    def get_num_layers(self) -> int:
        """Blocks, as fine-tuning scripts count layers."""
        return len(self.blocks)

    def get_layer_id(self, layer_name: str) -> int:
        """The layer that a parameter belongs to, for rates that fall towards the input.

        0 for position codes and patches, i + 1 for block i, one more than there are blocks for anything else.
        """
        if "pos_embed" in layer_name or "patch_embed" in layer_name:
            return 0
        block = re.search(r"blocks\.(\d+)", layer_name)
        return int(block[1]) + 1 if block else self.get_num_layers() + 1

    def _position(self, h: int, w: int, dtype: torch.dtype) -> Tensor:
        """Global code, enlarged bicubically, plus the window code repeated: (1,h,w,C)."""
        a, b = self.pos_embed, self.pos_embed_window
        frozen = not (torch.is_grad_enabled() or torch.compiler.is_compiling() or a.is_inference())
        key = (h, w, dtype, a.device, a.data_ptr(), b.data_ptr(), a._version, b._version) if frozen else None
        if key is not None and self._position_cache is not None and self._position_cache[0] == key:
            return self._position_cache[1]
        size = b.shape[-1]
        position = F.interpolate(a, size=(h, w), mode="bicubic")
        position = position + b.tile(1, 1, -(-h // size), -(-w // size))[:, :, :h, :w]
        position = position.permute(0, 2, 3, 1).to(dtype).contiguous()
        if key is not None:
            self._position_cache = (key, position)
        return position


def _blocks(config: HieraConfig) -> list[MultiScaleBlock]:
    depth = sum(config.stages)
    starts = {sum(config.stages[:i]): i for i in range(1, len(config.stages))}
    dim, heads, stage = config.embed_dim, config.num_heads, 0
    blocks = []
    for i in range(depth):
        window = config.window_spec[stage]  # the first block of a stage keeps the window of the one before
        dim_out, q_pool = dim, False
        if i in starts:
            stage = starts[i]
            dim_out, heads = dim * 2, heads * 2
            q_pool = stage <= config.q_pool
        blocks.append(
            MultiScaleBlock(
                dim=dim,
                dim_out=dim_out,
                num_heads=heads,
                mlp_ratio=config.mlp_ratio,
                drop_path=config.drop_path_rate * i / max(depth - 1, 1),
                q_pool=q_pool,
                window_size=0 if i in config.global_att_blocks else window,
            )
        )
        dim = dim_out
    return blocks
