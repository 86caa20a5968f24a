"""Every dimension and every behaviour flag of the network, as frozen dataclasses, and the table of models.

Field names are the official ones where the official configuration has the field, so that overrides such as
``++model.num_maskmem=4`` need no translation. Nothing here imports torch.

Source: Ravi et al., "SAM 2: Segment Anything in Images and Videos" (2024), and the behaviour of the released models.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True)
class HieraConfig:
    """The hierarchical transformer trunk (Ryali et al., "Hiera", 2023) as SAM 2 uses it."""

    embed_dim: int = 96
    num_heads: int = 1
    stages: tuple[int, ...] = (1, 2, 7, 2)
    global_att_blocks: tuple[int, ...] = (5, 7, 9)
    window_spec: tuple[int, ...] = (8, 4, 14, 7)
    window_pos_embed_bkg_spatial_size: tuple[int, int] = (7, 7)
    q_pool: int = 3
    mlp_ratio: float = 4.0
    drop_path_rate: float = 0.0

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the stages, shallow to deep."""
        return tuple(self.embed_dim * 2**i for i in range(len(self.stages)))


@dataclass(frozen=True)
class EfficientNetLiteConfig:
    """EfficientNet-Lite (Google, 2020): an inverted-residual trunk without squeeze-excite; strides 4, 8, 16, 32."""

    width: float = 1.0
    depth: float = 1.0
    drop_path_rate: float = 0.0

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the features at strides 4, 8, 16 and 32."""
        return tuple(self.rounded(base) for base in (24, 40, 112, 320))

    def rounded(self, base: int) -> int:
        """Channels of a stage: ``base`` times the width, to the nearest multiple of 8, never more than 10 % fewer."""
        wanted = base * self.width
        nearest = max(8, int(wanted + 4) // 8 * 8)
        return nearest + 8 if nearest < 0.9 * wanted else nearest


@dataclass(frozen=True)
class NeckConfig:
    """The feature pyramid neck: 1x1 laterals, nearest-neighbour top-down sums on the named levels."""

    fpn_top_down_levels: tuple[int, ...] = (2, 3)
    scalp: int = 1
    layer_norm: bool = False
    """A 2-D layer norm on each output level (the nano's; official models have none)."""


@dataclass(frozen=True)
class PromptEncoderConfig:
    """Sparse prompts as tokens, the mask prompt as a dense map."""

    mask_in_chans: int = 16
    drawn: bool = False
    """Also draw clicks, box and previous mask into the dense prompt (the nano's prompt encoder)."""
    drawn_sigma: float = 2.0
    """Radius of a drawn click, in pixels of the quarter-size map."""
    drawn_reaches: tuple[float, ...] = ()
    """Radii of wider bumps drawn around each click, from which every cell knows how near it is."""


@dataclass(frozen=True)
class MaskDecoderConfig:
    """Two-way transformer and mask heads."""

    depth: int = 2
    num_heads: int = 8
    mlp_dim: int = 2048
    attention_downsample_rate: int = 2
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256
    iou_prediction_use_sigmoid: bool = True
    use_high_res_features: bool = True
    pred_obj_scores: bool = True
    dynamic_multimask_via_stability: bool = False
    dynamic_multimask_stability_delta: float = 0.05
    dynamic_multimask_stability_thresh: float = 0.98
    mixing_blocks: int = 0
    """ConvNeXt blocks over embedding and dense prompt before the transformer reads them (0: official)."""
    mixing_expansion: int = 2
    refining_blocks: tuple[int, int] = (0, 0)
    """Further ConvNeXt blocks, at twice and at four times the embedding's resolution, while masks are drawn."""


@dataclass(frozen=True)
class MemoryEncoderConfig:
    """Mask downsampler, fuser and output projection of the memory encoder."""

    out_dim: int = 64
    fuser_layers: int = 2
    fuser_expansion: int = 4
    pool: int = 1
    """Memories are averaged over ``pool`` × ``pool`` cells before they are stored (1: official)."""


@dataclass(frozen=True)
class MemoryAttentionConfig:
    """Self- and cross-attention layers that condition a frame on its memories."""

    num_layers: int = 4
    num_heads: int = 1
    dim_feedforward: int = 2048
    rope_theta: float = 10000.0
    pos_enc_at_input: float = 0.1


@dataclass(frozen=True)
class SAM2Config:
    """A whole model. ``hidden_dim`` is C, ``memory_encoder.out_dim`` is Cm in all shape comments."""

    name: str = "tiny"
    version: Literal["2.0", "2.1"] = "2.1"
    image_size: int = 1024
    hidden_dim: int = 256
    trunk: HieraConfig | EfficientNetLiteConfig = field(default_factory=HieraConfig)
    neck: NeckConfig = field(default_factory=NeckConfig)
    prompt_encoder: PromptEncoderConfig = field(default_factory=PromptEncoderConfig)
    mask_decoder: MaskDecoderConfig = field(default_factory=MaskDecoderConfig)
    memory_encoder: MemoryEncoderConfig = field(default_factory=MemoryEncoderConfig)
    memory_attention: MemoryAttentionConfig = field(default_factory=MemoryAttentionConfig)

    # Memory
    num_maskmem: int = 7
    sigmoid_scale_for_mem_enc: float = 20.0
    sigmoid_bias_for_mem_enc: float = -10.0
    binarize_mask_from_pts_for_mem_enc: bool = False
    non_overlap_masks_for_mem_enc: bool = False
    max_cond_frames_in_attn: int = -1
    memory_temporal_stride_for_eval: int = 1
    directly_add_no_mem_embed: bool = True
    no_obj_embed_spatial: bool = True

    # Masks
    use_mask_input_as_output_without_sam: bool = True
    multimask_output_in_sam: bool = True
    multimask_min_pt_num: int = 0
    multimask_max_pt_num: int = 1
    multimask_output_for_tracking: bool = True
    use_multimask_token_for_obj_ptr: bool = True

    # Object pointers
    use_obj_ptrs_in_encoder: bool = True
    max_obj_ptrs_in_encoder: int = 16
    add_tpos_enc_to_obj_ptrs: bool = True
    proj_tpos_enc_in_obj_ptrs: bool = True
    use_signed_tpos_enc_to_obj_ptrs: bool = True
    only_obj_ptrs_in_the_past_for_eval: bool = True
    fixed_no_obj_ptr: bool = True
    soft_no_obj_ptr: bool = False

    backbone_stride: int = 16

    def __post_init__(self) -> None:
        if self.image_size <= 0 or self.image_size % 32:
            raise ValueError(f"image_size must be a positive multiple of 32, got {self.image_size}")
        if self.hidden_dim % 8:
            raise ValueError(f"hidden_dim must be a multiple of 8, got {self.hidden_dim}")

    @property
    def embedding_size(self) -> int:
        """Cells per side of the image embedding, h = w."""
        return self.image_size // self.backbone_stride

    @property
    def mask_input_size(self) -> int:
        """Pixels per side of a mask prompt and of low-resolution logits."""
        return self.embedding_size * 4


_TRUNKS: dict[str, HieraConfig] = {
    "tiny": HieraConfig(),
    "small": HieraConfig(stages=(1, 2, 11, 2), global_att_blocks=(7, 10, 13)),
    "base_plus": HieraConfig(
        embed_dim=112,
        num_heads=2,
        stages=(2, 3, 16, 3),
        global_att_blocks=(12, 16, 20),
        window_pos_embed_bkg_spatial_size=(14, 14),
    ),
    "large": HieraConfig(
        embed_dim=144,
        num_heads=2,
        stages=(2, 6, 36, 4),
        global_att_blocks=(23, 33, 43),
        window_spec=(8, 4, 16, 8),
    ),
}


def _official(size: str, version: Literal["2.0", "2.1"]) -> SAM2Config:
    config = SAM2Config(name=size if version == "2.1" else f"2.0-{size}", version=version, trunk=_TRUNKS[size])
    if version == "2.1":
        return config
    return replace(
        config,
        no_obj_embed_spatial=False,
        add_tpos_enc_to_obj_ptrs=False,
        proj_tpos_enc_in_obj_ptrs=False,
        use_signed_tpos_enc_to_obj_ptrs=False,
    )


NANO = SAM2Config(
    name="nano",
    image_size=448,
    hidden_dim=128,
    trunk=EfficientNetLiteConfig(width=1.1, depth=1.2),
    neck=NeckConfig(fpn_top_down_levels=(0, 1, 2, 3), layer_norm=True),
    prompt_encoder=PromptEncoderConfig(drawn=True, drawn_reaches=(8.0, 24.0)),
    mask_decoder=MaskDecoderConfig(
        num_heads=4, mlp_dim=512, iou_head_hidden_dim=128, mixing_blocks=3, refining_blocks=(2, 1)
    ),
    memory_encoder=MemoryEncoderConfig(fuser_expansion=2),
    memory_attention=MemoryAttentionConfig(num_layers=2, dim_feedforward=512),
    num_maskmem=4,
)

MODELS: dict[str, SAM2Config] = {
    **{size: _official(size, "2.1") for size in _TRUNKS},
    **{f"2.0-{size}": _official(size, "2.0") for size in _TRUNKS},
    "nano": NANO,
}
"""The eight released models and the nano, by short name."""
