"""Which class plays which part for a configuration: the only place that knows."""

from __future__ import annotations

from torch import nn

from samphony.model.config import HieraConfig, SAM2Config
from samphony.model.hiera import Hiera
from samphony.model.image_encoder import FpnNeck, ImageEncoder
from samphony.model.mask_decoder import MaskDecoder
from samphony.model.memory_attention import MemoryAttention
from samphony.model.memory_encoder import MemoryEncoder
from samphony.model.prompt_encoder import PromptEncoder


def build_image_encoder(config: SAM2Config) -> ImageEncoder:
    """Trunk and neck."""
    trunk: nn.Module
    if isinstance(config.trunk, HieraConfig):
        trunk = Hiera(config.trunk)
    else:
        from samphony.model.efficientnet_lite import EfficientNetLite

        trunk = EfficientNetLite(config.trunk)
    neck = FpnNeck(
        config.hidden_dim,
        config.trunk.channels[::-1],
        config.neck.fpn_top_down_levels,
        layer_norm=config.neck.layer_norm,
    )
    return ImageEncoder(trunk, neck, scalp=config.neck.scalp)


def build_prompt_encoder(config: SAM2Config) -> PromptEncoder:
    """Sparse and dense prompts; drawn into the dense map as well where the configuration says so."""
    cells = (config.embedding_size, config.embedding_size)
    pixels = (config.image_size, config.image_size)
    options = config.prompt_encoder
    if options.drawn:
        from samphony.model.drawn_prompt_encoder import DrawnPromptEncoder

        return DrawnPromptEncoder(
            config.hidden_dim,
            cells,
            pixels,
            options.mask_in_chans,
            sigma=options.drawn_sigma,
            reaches=options.drawn_reaches,
        )
    return PromptEncoder(config.hidden_dim, cells, pixels, options.mask_in_chans)


def build_mask_decoder(config: SAM2Config) -> MaskDecoder:
    """Two-way transformer and mask heads."""
    decoder = MaskDecoder
    if config.mask_decoder.mixing_blocks:
        from samphony.model.mixing_mask_decoder import MixingMaskDecoder

        decoder = MixingMaskDecoder
    return decoder(
        config.hidden_dim,
        config.mask_decoder,
        use_multimask_token_for_obj_ptr=config.use_multimask_token_for_obj_ptr,
    )


def build_memory_attention(config: SAM2Config) -> MemoryAttention:
    """Layers that condition a frame on its memories."""
    return MemoryAttention(
        config.hidden_dim, config.memory_encoder.out_dim, config.memory_attention, config.memory_encoder.pool
    )


def build_memory_encoder(config: SAM2Config) -> MemoryEncoder:
    """What a frame's mask and features leave behind."""
    return MemoryEncoder(config.hidden_dim, config.memory_encoder)
