"""``sam2.modeling.memory_encoder`` and ``memory_attention`` with official constructors: around parts that are given."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

from torch import Tensor, nn

from samphony.compat.official import Official, only
from samphony.errors import ConfigError
from samphony.model import memory_attention, memory_encoder
from samphony.model.config import MemoryAttentionConfig, MemoryEncoderConfig
from samphony.model.conv import Conv2d
from samphony.model.layers import LayerNorm2d


class MaskDownSampler(memory_encoder.MaskDownSampler, metaclass=Official):
    """Any kernel and stride; the defaults are official ones that no released model uses."""

    def __init__(
        self,
        embed_dim: int = 256,
        kernel_size: int = 4,
        stride: int = 4,
        padding: int = 0,
        total_stride: int = 16,
        activation: type[nn.Module] = nn.GELU,
    ) -> None:
        super().__init__(embed_dim)
        steps = round(math.log(total_stride, stride))
        if stride**steps != total_stride:
            raise ConfigError(f"total_stride must be a power of stride, got {total_stride} and {stride}")
        layers: list[nn.Module] = []
        channels = 1
        for _ in range(steps):
            wider = channels * stride**2
            layers += [Conv2d(channels, wider, kernel_size, stride, padding), LayerNorm2d(wider), activation()]
            channels = wider
        self.encoder = nn.Sequential(*layers, Conv2d(channels, embed_dim, 1))


class CXBlock(memory_encoder.CXBlock, metaclass=Official):
    """With the scale of its residual."""

    def __init__(
        self,
        dim: int,
        kernel_size: int = 7,
        padding: int = 3,
        drop_path: float = 0.0,
        layer_scale_init_value: float = 1e-6,
        use_dwconv: bool = True,
    ) -> None:
        super().__init__(dim)
        only("drop_path", drop_path, 0.0)
        self.dwconv = Conv2d(dim, dim, kernel_size, padding=padding, groups=dim if use_dwconv else 1)
        nn.init.constant_(self.gamma, float(layer_scale_init_value))


class Fuser(memory_encoder.Fuser, metaclass=Official):
    """``num_layers`` copies of a layer."""

    def __init__(
        self, layer: nn.Module, num_layers: int, dim: int | None = None, input_projection: bool = False
    ) -> None:
        super().__init__(dim or 1, 0)
        only("input_projection", input_projection, False)
        self.layers = nn.ModuleList(copy.deepcopy(layer) for _ in range(num_layers))


class MemoryEncoder(memory_encoder.MemoryEncoder, metaclass=Official):
    """Around parts that are given."""

    def __init__(
        self,
        out_dim: int,
        mask_downsampler: nn.Module,
        fuser: nn.Module,
        position_encoding: nn.Module,
        in_dim: int = 256,
    ) -> None:
        super().__init__(in_dim, MemoryEncoderConfig(out_dim=out_dim, fuser_layers=0))
        only("position_encoding.num_pos_feats", getattr(position_encoding, "num_pos_feats", None), out_dim)
        self.mask_downsampler = mask_downsampler  # type: ignore[assignment]
        self.fuser = fuser  # type: ignore[assignment]


class RoPEAttention(memory_attention.RoPEAttention, metaclass=Official):
    """``rope_k_repeat`` and ``feat_sizes`` are accepted: keys are located by their number, tables made by need."""

    def __init__(
        self,
        embedding_dim: int,
        num_heads: int,
        downsample_rate: int = 1,
        dropout: float = 0.0,
        kv_in_dim: int | None = None,
        *,
        rope_theta: float = 10000.0,
        rope_k_repeat: bool = False,
        feat_sizes: Sequence[int] = (64, 64),
    ) -> None:
        only("downsample_rate", downsample_rate, 1)
        super().__init__(embedding_dim, num_heads, rope_theta, kv_in_dim)
        self.kv_in_dim = embedding_dim if kv_in_dim is None else kv_in_dim

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        grid: tuple[int, int] | None = None,
        num_k_exclude_rope: int = 0,
        key_pool: int = 1,
    ) -> Tensor:
        """As ours; without ``grid`` the queries are a square."""
        side = math.isqrt(q.shape[-2])
        return super().forward(q, k, v, grid or (side, side), num_k_exclude_rope, key_pool)


class MemoryAttentionLayer(memory_attention.MemoryAttentionLayer, metaclass=Official):
    """Around attentions that are given, with the position codes where every released model has them."""

    def __init__(
        self,
        activation: str,
        cross_attention: nn.Module,
        d_model: int,
        dim_feedforward: int,
        dropout: float,
        pos_enc_at_attn: bool,
        pos_enc_at_cross_attn_keys: bool,
        pos_enc_at_cross_attn_queries: bool,
        self_attention: nn.Module,
    ) -> None:
        only("activation", activation, "relu")
        only("pos_enc_at_attn", pos_enc_at_attn, False)
        only("pos_enc_at_cross_attn_keys", pos_enc_at_cross_attn_keys, True)
        only("pos_enc_at_cross_attn_queries", pos_enc_at_cross_attn_queries, False)
        config = MemoryAttentionConfig(dim_feedforward=dim_feedforward)
        super().__init__(d_model, d_model, config, dropout)
        self.self_attn = self_attention  # type: ignore[assignment]
        self.cross_attn_image = cross_attention  # type: ignore[assignment]


class MemoryAttention(memory_attention.MemoryAttention, metaclass=Official):
    """``num_layers`` copies of a layer."""

    def __init__(
        self, d_model: int, pos_enc_at_input: bool, layer: nn.Module, num_layers: int, batch_first: bool = True
    ) -> None:
        only("batch_first", batch_first, True)
        weight = 0.1 if pos_enc_at_input else 0.0
        super().__init__(d_model, d_model, MemoryAttentionConfig(num_layers=0, pos_enc_at_input=weight))
        self.layers = nn.ModuleList(copy.deepcopy(layer) for _ in range(num_layers))
        self.num_layers = num_layers
