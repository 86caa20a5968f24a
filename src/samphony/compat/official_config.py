"""Official configurations, written from ours: for packages that read them, or that instantiate them with Hydra."""

from __future__ import annotations

from typing import Any

from samphony.model.config import HieraConfig, SAM2Config

_FLAGS = (
    "num_maskmem",
    "image_size",
    "sigmoid_scale_for_mem_enc",
    "sigmoid_bias_for_mem_enc",
    "use_mask_input_as_output_without_sam",
    "directly_add_no_mem_embed",
    "no_obj_embed_spatial",
    "multimask_output_in_sam",
    "use_obj_ptrs_in_encoder",
    "add_tpos_enc_to_obj_ptrs",
    "proj_tpos_enc_in_obj_ptrs",
    "use_signed_tpos_enc_to_obj_ptrs",
    "only_obj_ptrs_in_the_past_for_eval",
    "fixed_no_obj_ptr",
    "multimask_output_for_tracking",
    "use_multimask_token_for_obj_ptr",
    "multimask_min_pt_num",
    "multimask_max_pt_num",
)
"""Fields of ``SAM2Config`` that are arguments of the official model."""


def official_config(config: SAM2Config) -> dict[str, Any]:
    """A released model as nested constructor arguments, each with the ``_target_`` that takes them."""
    assert isinstance(config.trunk, HieraConfig)
    return {
        "model": {
            "_target_": "sam2.modeling.sam2_base.SAM2Base",
            "image_encoder": _image_encoder(config, config.trunk),
            "memory_attention": _memory_attention(config),
            "memory_encoder": _memory_encoder(config),
            **{name: getattr(config, name) for name in _FLAGS},
            "use_high_res_features_in_sam": config.mask_decoder.use_high_res_features,
            "iou_prediction_use_sigmoid": config.mask_decoder.iou_prediction_use_sigmoid,
            "pred_obj_scores": config.mask_decoder.pred_obj_scores,
            "pred_obj_scores_mlp": True,
            "use_mlp_for_obj_ptr_proj": True,
            "compile_image_encoder": False,
        }
    }


def _image_encoder(config: SAM2Config, trunk: HieraConfig) -> dict[str, Any]:
    return {
        "_target_": "sam2.modeling.backbones.image_encoder.ImageEncoder",
        "scalp": config.neck.scalp,
        "trunk": {
            "_target_": "sam2.modeling.backbones.hieradet.Hiera",
            "embed_dim": trunk.embed_dim,
            "num_heads": trunk.num_heads,
            "stages": list(trunk.stages),
            "global_att_blocks": list(trunk.global_att_blocks),
            "window_pos_embed_bkg_spatial_size": list(trunk.window_pos_embed_bkg_spatial_size),
            "window_spec": list(trunk.window_spec),
        },
        "neck": {
            "_target_": "sam2.modeling.backbones.image_encoder.FpnNeck",
            "position_encoding": _sine(config.hidden_dim),
            "d_model": config.hidden_dim,
            "backbone_channel_list": list(trunk.channels[::-1]),
            "fpn_top_down_levels": list(config.neck.fpn_top_down_levels),
            "fpn_interp_model": "nearest",
        },
    }


def _memory_attention(config: SAM2Config) -> dict[str, Any]:
    attention = {
        "_target_": "sam2.modeling.sam.transformer.RoPEAttention",
        "rope_theta": config.memory_attention.rope_theta,
        "feat_sizes": [config.embedding_size, config.embedding_size],
        "embedding_dim": config.hidden_dim,
        "num_heads": config.memory_attention.num_heads,
        "downsample_rate": 1,
        "dropout": 0.1,
    }
    return {
        "_target_": "sam2.modeling.memory_attention.MemoryAttention",
        "d_model": config.hidden_dim,
        "pos_enc_at_input": config.memory_attention.pos_enc_at_input > 0,
        "num_layers": config.memory_attention.num_layers,
        "layer": {
            "_target_": "sam2.modeling.memory_attention.MemoryAttentionLayer",
            "activation": "relu",
            "d_model": config.hidden_dim,
            "dim_feedforward": config.memory_attention.dim_feedforward,
            "dropout": 0.1,
            "pos_enc_at_attn": False,
            "pos_enc_at_cross_attn_keys": True,
            "pos_enc_at_cross_attn_queries": False,
            "self_attention": attention,
            "cross_attention": {**attention, "rope_k_repeat": True, "kv_in_dim": config.memory_encoder.out_dim},
        },
    }


def _memory_encoder(config: SAM2Config) -> dict[str, Any]:
    place = "sam2.modeling.memory_encoder"
    return {
        "_target_": f"{place}.MemoryEncoder",
        "out_dim": config.memory_encoder.out_dim,
        "position_encoding": _sine(config.memory_encoder.out_dim),
        "mask_downsampler": {"_target_": f"{place}.MaskDownSampler", "kernel_size": 3, "stride": 2, "padding": 1},
        "fuser": {
            "_target_": f"{place}.Fuser",
            "num_layers": config.memory_encoder.fuser_layers,
            "layer": {
                "_target_": f"{place}.CXBlock",
                "dim": config.hidden_dim,
                "kernel_size": 7,
                "padding": 3,
                "layer_scale_init_value": 1e-6,
                "use_dwconv": True,
            },
        },
    }


def _sine(features: int) -> dict[str, Any]:
    return {
        "_target_": "sam2.modeling.position_encoding.PositionEmbeddingSine",
        "num_pos_feats": features,
        "normalize": True,
        "scale": None,
        "temperature": 10000,
    }


def to_yaml(tree: dict[str, Any]) -> str:
    """As a configuration file of Hydra's global package."""
    return "# @package _global_\n# Written by samphony.compat.official_config.\n\n" + "\n".join(_lines(tree, 0)) + "\n"


def _lines(tree: dict[str, Any], depth: int) -> list[str]:
    lines = []
    for key, value in tree.items():
        if isinstance(value, dict):
            lines += [f"{'  ' * depth}{key}:", *_lines(value, depth + 1)]
        else:
            lines.append(f"{'  ' * depth}{key}: {_scalar(value)}")
    return lines


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < abs(value) < 1e-3 else str(value)
    return str(value)
