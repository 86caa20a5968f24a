"""Where the names of the official package are in samphony.

Module → name → ``"our.module"``, or ``"our.module:our_name"`` where ours is called otherwise.
"""

from __future__ import annotations

_MODEL = "samphony.model"
_PREDICT = "samphony.predict"
_COMPAT = "samphony.compat"
_AMG = "samphony.compat.amg"
_MISC = "samphony.compat.misc"
_FRAMES = "samphony.compat.video_frames"


def _from(place: str, *names: str) -> dict[str, str]:
    """Names that are the same in one of our modules."""
    return dict.fromkeys(names, place)


_DOORS: dict[str, dict[str, str]] = {
    "sam2": {},
    "sam2.build_sam": {
        "HF_MODEL_ID_TO_FILENAMES": "samphony.compat.hub",
        "build_sam2": f"{_COMPAT}.build",
        "build_sam2_hf": f"{_PREDICT}.build",
        **_from(f"{_COMPAT}.video", "build_sam2_video_predictor", "build_sam2_video_predictor_hf"),
        "_hf_download": "samphony.compat.hub:hf_download",
        "_load_checkpoint": "samphony.compat.hub:load_checkpoint",
    },
    "sam2.sam2_image_predictor": {
        "SAM2ImagePredictor": f"{_PREDICT}.image",
        "SAM2Base": f"{_MODEL}.base",
        "SAM2Transforms": f"{_PREDICT}.transforms",
    },
    "sam2.sam2_video_predictor": {
        **_from(f"{_COMPAT}.video", "SAM2VideoPredictor", "SAM2VideoPredictorVOS"),
        "SAM2Base": f"{_COMPAT}.base",
        "NO_OBJ_SCORE": f"{_MODEL}.base",
        **_from(_MISC, "concat_points", "fill_holes_in_mask_scores"),
        "load_video_frames": _FRAMES,
    },
    "sam2.automatic_mask_generator": {
        "SAM2AutomaticMaskGenerator": f"{_PREDICT}.automatic",
        "SAM2ImagePredictor": f"{_PREDICT}.image",
    },
}

_NETWORK: dict[str, dict[str, str]] = {
    "sam2.modeling": {},
    "sam2.modeling.sam2_base": {
        "SAM2Base": f"{_COMPAT}.base",
        "NO_OBJ_SCORE": f"{_MODEL}.base",
        **_from(f"{_COMPAT}.decoder", "MLP", "MaskDecoder", "PromptEncoder", "TwoWayTransformer"),
        **_from(f"{_COMPAT}.sam2_utils", "get_1d_sine_pe", "select_closest_cond_frames"),
    },
    "sam2.modeling.sam2_utils": {
        **_from(f"{_COMPAT}.decoder", "DropPath", "MLP"),
        "LayerNorm2d": f"{_MODEL}.layers",
        "mask_to_box": _MISC,
        **_from(
            f"{_COMPAT}.sam2_utils",
            "get_1d_sine_pe",
            "get_activation_fn",
            "get_clones",
            "get_next_point",
            "sample_box_points",
            "sample_one_point_from_error_center",
            "sample_random_points_from_errors",
            "select_closest_cond_frames",
        ),
    },
    "sam2.modeling.position_encoding": {
        "PositionEmbeddingRandom": f"{_MODEL}.position",
        "PositionEmbeddingSine": f"{_COMPAT}.position",
    },
    "sam2.modeling.memory_attention": {
        **_from(f"{_COMPAT}.memory", "MemoryAttention", "MemoryAttentionLayer", "RoPEAttention"),
        **_from(f"{_COMPAT}.sam2_utils", "get_activation_fn", "get_clones"),
    },
    "sam2.modeling.memory_encoder": {
        **_from(f"{_COMPAT}.memory", "CXBlock", "Fuser", "MaskDownSampler", "MemoryEncoder"),
        "DropPath": f"{_COMPAT}.decoder",
        "LayerNorm2d": f"{_MODEL}.layers",
        "get_clones": f"{_COMPAT}.sam2_utils",
    },
    "sam2.modeling.backbones": {},
    "sam2.modeling.backbones.hieradet": {
        **_from(f"{_COMPAT}.backbone", "Hiera", "MultiScaleAttention", "MultiScaleBlock", "PatchEmbed", "do_pool"),
        **_from(f"{_MODEL}.hiera", "window_partition", "window_unpartition"),
        **_from(f"{_COMPAT}.decoder", "DropPath", "MLP"),
    },
    "sam2.modeling.backbones.image_encoder": {
        "FpnNeck": f"{_COMPAT}.backbone",
        "ImageEncoder": f"{_MODEL}.image_encoder",
    },
    "sam2.modeling.backbones.utils": {
        "PatchEmbed": f"{_COMPAT}.backbone",
        **_from(f"{_MODEL}.hiera", "window_partition", "window_unpartition"),
    },
    "sam2.modeling.sam": {},
    "sam2.modeling.sam.mask_decoder": {
        **_from(f"{_COMPAT}.decoder", "MLP", "MaskDecoder"),
        "LayerNorm2d": f"{_MODEL}.layers",
    },
    "sam2.modeling.sam.prompt_encoder": {
        "PromptEncoder": f"{_COMPAT}.decoder",
        "LayerNorm2d": f"{_MODEL}.layers",
        "PositionEmbeddingRandom": f"{_MODEL}.position",
    },
    "sam2.modeling.sam.transformer": {
        **_from(f"{_COMPAT}.decoder", "Attention", "MLP", "TwoWayAttentionBlock", "TwoWayTransformer"),
        "RoPEAttention": f"{_COMPAT}.memory",
    },
}

_UTILS: dict[str, dict[str, str]] = {
    "sam2.utils": {},
    "sam2.utils.amg": {
        "build_all_layer_point_grids": f"{_PREDICT}.automatic.grids:layer_grids",
        "build_point_grid": f"{_PREDICT}.automatic.grids:point_grid",
        **_from(f"{_COMPAT}.mask_data", "MaskData", "batch_iterator"),
        **_from(
            _AMG,
            "area_from_rle",
            "batched_mask_to_box",
            "box_xyxy_to_xywh",
            "calculate_stability_score",
            "coco_encode_rle",
            "generate_crop_boxes",
            "is_box_near_crop_edge",
            "mask_to_rle_pytorch",
            "remove_small_regions",
            "rle_to_mask",
            "uncrop_boxes_xyxy",
            "uncrop_masks",
            "uncrop_points",
        ),
    },
    "sam2.utils.misc": {
        **_from(_MISC, "concat_points", "fill_holes_in_mask_scores", "get_connected_components", "mask_to_box"),
        **_from(_FRAMES, "AsyncVideoFrameLoader", "load_video_frames"),
        "_load_img_as_tensor": f"{_FRAMES}:load_img_as_tensor",
        "load_video_frames_from_jpg_images": f"{_FRAMES}:load_video_frames",
        "load_video_frames_from_video_file": f"{_FRAMES}:load_video_frames",
    },
    "sam2.utils.transforms": {"SAM2Transforms": f"{_PREDICT}.transforms"},
}

MODULES = {**_DOORS, **_NETWORK, **_UTILS}
"""Every module of ``sam2`` that has a counterpart."""
