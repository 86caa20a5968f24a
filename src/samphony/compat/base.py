"""``sam2.modeling.sam2_base.SAM2Base`` with the official constructor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from samphony.compat.official import Official
from samphony.errors import ConfigError
from samphony.model import base
from samphony.model.config import (
    MODELS,
    HieraConfig,
    MaskDecoderConfig,
    MemoryEncoderConfig,
    SAM2Config,
)
from samphony.predict.overrides import apply_setting

_DEFAULTS = SAM2Config(
    name="custom",
    image_size=512,
    mask_decoder=MaskDecoderConfig(
        iou_prediction_use_sigmoid=False, use_high_res_features=False, pred_obj_scores=False
    ),
    sigmoid_scale_for_mem_enc=1.0,
    sigmoid_bias_for_mem_enc=0.0,
    directly_add_no_mem_embed=False,
    no_obj_embed_spatial=False,
    use_mask_input_as_output_without_sam=False,
    multimask_output_in_sam=False,
    multimask_min_pt_num=1,
    multimask_output_for_tracking=False,
    use_multimask_token_for_obj_ptr=False,
    use_obj_ptrs_in_encoder=False,
    proj_tpos_enc_in_obj_ptrs=False,
    use_signed_tpos_enc_to_obj_ptrs=False,
    only_obj_ptrs_in_the_past_for_eval=False,
    fixed_no_obj_ptr=False,
)
"""The official constructor's defaults: not the behaviour of any released model."""


class SAM2Base(base.SAM2Base, metaclass=Official):
    """Parts and flags instead of a configuration; what the released models set is in ``configs/*.yaml``.

    Args:
        image_encoder, memory_attention, memory_encoder: the parts.
        settings: official names, such as ``image_size``; ``sam_mask_decoder_extra_args`` is a mapping or None.

    Raises:
        ConfigError: a setting that does not exist or that no released model has.
    """

    def __init__(
        self,
        image_encoder: nn.Module,
        memory_attention: nn.Module,
        memory_encoder: nn.Module,
        num_maskmem: int = 7,
        image_size: int = 512,
        **settings: Any,
    ) -> None:
        hidden_dim = getattr(getattr(image_encoder, "neck", None), "d_model", None)
        if hidden_dim is None:
            raise ConfigError("image_encoder must have a neck with d_model, the channels of its features")
        config = replace(_DEFAULTS, hidden_dim=hidden_dim, trunk=_trunk_config(image_encoder))
        out_proj = getattr(memory_encoder, "out_proj", None)
        out_dim = out_proj.weight.shape[0] if out_proj is not None else hidden_dim
        config = replace(config, memory_encoder=MemoryEncoderConfig(out_dim=out_dim))
        given = {"num_maskmem": num_maskmem, "image_size": image_size, **settings}
        for name, value in _flat(given):
            config = apply_setting(config, name, value, f"{name}={value!r}")
        super().__init__(image_encoder, memory_attention, memory_encoder, _named(config))


def _trunk_config(image_encoder: nn.Module) -> HieraConfig:
    config = getattr(getattr(image_encoder, "trunk", None), "config", None)
    return config if isinstance(config, HieraConfig) else HieraConfig()


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings with dots in their names instead of mappings; None leaves a default."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None:
            yield prefix + key, value


def _named(config: SAM2Config) -> SAM2Config:
    """Under the name of the released model whose dimensions it has, so that saved weights say it."""
    version = "2.1" if config.no_obj_embed_spatial else "2.0"
    for name, known in MODELS.items():
        if known.trunk == config.trunk and known.version == version and known.hidden_dim == config.hidden_dim:
            return replace(config, name=name, version=known.version)
    return config
