"""``sam2.modeling.backbones``: trunk and neck with official constructors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from samphony.compat.official import Official, as_function, only
from samphony.compat.position import PositionEmbeddingSine
from samphony.errors import ConfigError
from samphony.model import hiera, image_encoder
from samphony.model.config import HieraConfig


def do_pool(x: Tensor, pool: nn.Module | None, norm: nn.Module | None = None) -> Tensor:
    """Pool tokens (B,H,W,C), then norm them; without ``pool`` they stay as they are."""
    if pool is None:
        return x
    x = pool(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return x if norm is None else norm(x)


class MultiScaleAttention(hiera.MultiScaleAttention, metaclass=Official):
    """``q_pool`` is the module that halves the queries, or None."""

    def __init__(self, dim: int, dim_out: int, num_heads: int, q_pool: nn.Module | None = None) -> None:
        super().__init__(dim, dim_out, num_heads, q_pool is not None)


class MultiScaleBlock(hiera.MultiScaleBlock, metaclass=Official):
    """``q_stride`` (2, 2) halves the queries."""

    def __init__(
        self,
        dim: int,
        dim_out: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        norm_layer: Any = "LayerNorm",
        q_stride: Sequence[int] | None = None,
        act_layer: type[nn.Module] = nn.GELU,
        window_size: int = 0,
    ) -> None:
        if q_stride is not None:
            only("q_stride", tuple(q_stride), (2, 2))
        super().__init__(dim, dim_out, num_heads, mlp_ratio, drop_path, q_stride is not None, window_size)
        self.mlp.activation = as_function(act_layer)
        if callable(norm_layer):
            self.norm1, self.norm2 = norm_layer(dim), norm_layer(dim_out)
        else:
            only("norm_layer", norm_layer, "LayerNorm")


class PatchEmbed(hiera.PatchEmbed, metaclass=Official):
    """Any kernel."""

    def __init__(
        self,
        kernel_size: Sequence[int] = (7, 7),
        stride: Sequence[int] = (4, 4),
        padding: Sequence[int] = (3, 3),
        in_chans: int = 3,
        embed_dim: int = 768,
    ) -> None:
        super().__init__(embed_dim)
        self.proj = nn.Conv2d(in_chans, embed_dim, tuple(kernel_size), tuple(stride), tuple(padding))  # type: ignore[arg-type]


class Hiera(hiera.Hiera, metaclass=Official):
    """The dimensions one by one; the defaults are the base-plus trunk's."""

    def __init__(
        self,
        embed_dim: int = 96,
        num_heads: int = 1,
        drop_path_rate: float = 0.0,
        q_pool: int = 3,
        q_stride: Sequence[int] = (2, 2),
        stages: Sequence[int] = (2, 3, 16, 3),
        dim_mul: float = 2.0,
        head_mul: float = 2.0,
        window_pos_embed_bkg_spatial_size: Sequence[int] = (14, 14),
        window_spec: Sequence[int] = (8, 4, 14, 7),
        global_att_blocks: Sequence[int] = (12, 16, 20),
        weights_path: str | None = None,
        return_interm_layers: bool = True,
    ) -> None:
        only("q_stride", tuple(q_stride), (2, 2))
        only("dim_mul", dim_mul, 2.0)
        only("head_mul", head_mul, 2.0)
        only("weights_path", weights_path, None)
        only("return_interm_layers", return_interm_layers, True)
        height, width = window_pos_embed_bkg_spatial_size
        super().__init__(
            HieraConfig(
                embed_dim=embed_dim,
                num_heads=num_heads,
                stages=tuple(stages),
                global_att_blocks=tuple(global_att_blocks),
                window_spec=tuple(window_spec),
                window_pos_embed_bkg_spatial_size=(height, width),
                q_pool=q_pool,
                drop_path_rate=drop_path_rate,
            )
        )


class FpnNeck(image_encoder.FpnNeck, metaclass=Official):
    """Also enlarges bilinearly, which is the official default that no released model uses."""

    def __init__(
        self,
        position_encoding: nn.Module,
        d_model: int,
        backbone_channel_list: Sequence[int],
        kernel_size: int = 1,
        stride: int = 1,
        padding: int = 0,
        fpn_interp_model: str = "bilinear",
        fuse_type: str = "sum",
        fpn_top_down_levels: Sequence[int] | None = None,
    ) -> None:
        only("kernel_size", kernel_size, 1)
        only("stride", stride, 1)
        only("padding", padding, 0)
        if fuse_type not in ("sum", "avg"):
            raise ConfigError(f"fuse_type must be 'sum' or 'avg', got {fuse_type!r}")
        if not isinstance(position_encoding, PositionEmbeddingSine) or position_encoding.num_pos_feats != d_model:
            raise ConfigError("position_encoding must be a PositionEmbeddingSine of d_model features")
        super().__init__(d_model, list(backbone_channel_list), fpn_top_down_levels)
        self.fpn_interp_model, self.fuse_type = fpn_interp_model, fuse_type

    def fuse(self, level: Tensor, above: Tensor) -> Tensor:
        """Add the coarser level, enlarged."""
        align = None if self.fpn_interp_model == "nearest" else False
        enlarged = F.interpolate(above.float(), scale_factor=2.0, mode=self.fpn_interp_model, align_corners=align)
        fused = level + enlarged
        return fused / 2 if self.fuse_type == "avg" else fused
