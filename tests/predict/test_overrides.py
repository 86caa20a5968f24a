"""Overrides in Hydra's writing: a table of what they do."""

from __future__ import annotations

from typing import Any

import pytest

from samphony.errors import ConfigError
from samphony.model.config import MODELS
from samphony.predict.overrides import POSTPROCESSING, VIDEO_POSTPROCESSING, apply_overrides

TINY = MODELS["tiny"]


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("++model.image_size=512", "image_size", 512),
        ("+model.image_size=512", "image_size", 512),
        ("model.image_size=512", "image_size", 512),
        (" ++model.num_maskmem=4 ", "num_maskmem", 4),
        ("++model.max_cond_frames_in_attn=2", "max_cond_frames_in_attn", 2),
        ("++model.memory_temporal_stride_for_eval=3", "memory_temporal_stride_for_eval", 3),
        ("++model.binarize_mask_from_pts_for_mem_enc=true", "binarize_mask_from_pts_for_mem_enc", True),
        ("++model.use_obj_ptrs_in_encoder=False", "use_obj_ptrs_in_encoder", False),
        ("++model.sigmoid_scale_for_mem_enc=10", "sigmoid_scale_for_mem_enc", 10.0),
        ("++model.sigmoid_bias_for_mem_enc=-5.5", "sigmoid_bias_for_mem_enc", -5.5),
        ("++model.max_obj_ptrs_in_encoder=8", "max_obj_ptrs_in_encoder", 8),
        ("++model.non_overlap_masks_for_mem_enc=true", "non_overlap_masks_for_mem_enc", True),
    ],
)
def test_fields_of_the_model(text: str, field: str, value: Any) -> None:
    config, door = apply_overrides(TINY, [text])
    assert getattr(config, field) == value
    assert type(getattr(config, field)) is type(getattr(TINY, field))
    assert door == {}


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("++model.pred_obj_scores=false", "pred_obj_scores", False),
        ("++model.use_high_res_features_in_sam=false", "use_high_res_features", False),
        ("++model.iou_prediction_use_sigmoid=false", "iou_prediction_use_sigmoid", False),
        (
            "++model.sam_mask_decoder_extra_args.dynamic_multimask_via_stability=true",
            "dynamic_multimask_via_stability",
            True,
        ),
        (
            "++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh=1",
            "dynamic_multimask_stability_thresh",
            1.0,
        ),
    ],
)
def test_fields_of_the_mask_decoder(text: str, field: str, value: Any) -> None:
    config, _ = apply_overrides(TINY, [text])
    assert getattr(config.mask_decoder, field) == value


def test_what_the_builders_add() -> None:
    config, _ = apply_overrides(TINY, POSTPROCESSING)
    assert config.mask_decoder.dynamic_multimask_via_stability
    assert not config.binarize_mask_from_pts_for_mem_enc
    config, _ = apply_overrides(TINY, VIDEO_POSTPROCESSING)
    assert config.binarize_mask_from_pts_for_mem_enc


def test_the_last_one_counts() -> None:
    config, _ = apply_overrides(TINY, ["++model.image_size=512", "++model.image_size=256"])
    assert config.image_size == 256


def test_options_of_the_door() -> None:
    config, door = apply_overrides(TINY, ["++model.fill_hole_area=8"], frozenset({"fill_hole_area"}))
    assert door == {"fill_hole_area": 8}
    assert config == TINY


def test_what_is_always_so_may_be_said() -> None:
    config, _ = apply_overrides(
        TINY,
        [
            "++model.directly_add_no_mem_embed=true",
            "++model.use_mlp_for_obj_ptr_proj=true",
            "++model.pred_obj_scores_mlp=true",
            "++model.compile_image_encoder=False",
            "++model._target_=sam2.modeling.sam2_base.SAM2Base",
        ],
    )
    assert config == TINY


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("++model.no_such_thing=1", "there is no field 'no_such_thing'; known are .*image_size"),
        ("image_size=512", "must look like"),
        ("++model.image_size", "must look like"),
        ("++trainer.lr=1", "must look like"),
        ("++model.image_size=100", "multiple of 32"),
        ("++model.image_size=big", "image_size takes int, got 'big'"),
        ("++model.image_size=1.5", "image_size takes int"),
        ("++model.use_obj_ptrs_in_encoder=3", "takes bool"),
        ("++model.num_maskmem=true", "takes int"),
        ("++model.num_maskmem=null", "takes int, got None"),
        ("++model.trunk=3", "trunk takes"),
        ("++model.directly_add_no_mem_embed=false", "supports directly_add_no_mem_embed=True only"),
        ("++model.compile_image_encoder=true", "supports compile_image_encoder=False only"),
        ("++model.backbone_stride=32", "supports backbone_stride=16 only"),
    ],
)
def test_what_cannot_be_applied(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        apply_overrides(TINY, [text])
    assert repr(text) in str(caught.value)
