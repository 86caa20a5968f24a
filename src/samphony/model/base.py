"""SAM2Base, the conductor: it holds five parts, knows only their interfaces, and says in which order they play.

Four verbs read as the paper does: encode an image (``forward_image``), condition on memories (``condition_on_memory``),
decode a mask (``_forward_sam_heads``, ``_use_mask_as_output``), encode a memory (``encode_memory``). ``track_step`` is
those four in order. Which memories are recalled is decided outside; nothing is kept between calls.

Source: Ravi et al., "SAM 2: Segment Anything in Images and Videos" (2024), and the behaviour of the released models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samphony.model.config import SAM2Config
from samphony.model.features import ImageFeatures
from samphony.model.image_encoder import takes_reductions
from samphony.model.layers import MLP
from samphony.model.memory import MemoryTokens, Recall, concatenate, pointer_tokens, spatial_tokens
from samphony.model.memory_encoder import EncodedMemory
from samphony.model.outputs import FrameOutput, MaskChoice, SamHeadsOutput, best_iou
from samphony.model.parts import build_mask_decoder, build_prompt_encoder
from samphony.model.position import sine_position_1d

NO_OBJ_SCORE = -1024.0
"""Logit of every pixel of an object that is not there."""

_PLAIN_FIELDS = frozenset(f.name for f in fields(SAM2Config) if isinstance(f.default, (bool, int, float)))
_READABLE = _PLAIN_FIELDS - {"no_obj_embed_spatial"}  # a parameter has that name
_SETTABLE = _READABLE - {"image_size", "backbone_stride", "hidden_dim", "num_maskmem", "proj_tpos_enc_in_obj_ptrs"}
"""What is built after the others would not change with them."""

PointInputs = dict[str, Tensor]
"""``point_coords`` (B,N,2) in pixels of the model's input and ``point_labels`` (B,N)."""


class SAM2Base(nn.Module):
    """SAM 2's network, composed of the parts it is given.

    Args:
        image_encoder: (B,3,S,S) → ``ImageFeatures`` of C channels at strides 4, 8, 16.
        memory_attention: current tokens, memory tokens and their positions → conditioned tokens.
        memory_encoder: features (B,C,h,w) and a mask (B,1,S,S) → ``EncodedMemory``.
        config: dimensions and behaviour. The prompt encoder and the mask decoder are built from it by
            ``_build_sam_heads`` and can be replaced afterwards (``sam_prompt_encoder``, ``sam_mask_decoder``).
    """

    def __init__(
        self,
        image_encoder: nn.Module,
        memory_attention: nn.Module,
        memory_encoder: nn.Module,
        config: SAM2Config,
    ) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = image_encoder
        self.memory_attention = memory_attention
        self.memory_encoder = memory_encoder
        self.image_size = config.image_size
        self.hidden_dim = C = config.hidden_dim
        self.mem_dim = Cm = config.memory_encoder.out_dim
        self.num_maskmem = config.num_maskmem
        self.use_high_res_features_in_sam = config.mask_decoder.use_high_res_features
        self.num_feature_levels = 3 if self.use_high_res_features_in_sam else 1

        self.maskmem_tpos_enc = nn.Parameter(_small(config.num_maskmem, 1, 1, Cm))
        self.no_mem_embed = nn.Parameter(_small(1, 1, C))
        self.no_mem_pos_enc = nn.Parameter(_small(1, 1, C))  # in every checkpoint, used by no released model
        self.mask_downsample = nn.Conv2d(1, 1, 4, stride=4)
        self.no_obj_ptr = nn.Parameter(_small(1, C))
        self.no_obj_embed_spatial = nn.Parameter(_small(1, Cm)) if config.no_obj_embed_spatial else None
        self._build_sam_heads()

    def _build_sam_heads(self) -> None:
        """Build the prompt encoder, the mask decoder and the projections of object pointers."""
        C = self.hidden_dim
        self.sam_prompt_encoder = build_prompt_encoder(self.config)
        self.sam_mask_decoder = build_mask_decoder(self.config)
        self.obj_ptr_proj: nn.Module = MLP(C, C, C, 3)
        self.obj_ptr_tpos_proj: nn.Module = nn.Identity()
        if self.config.proj_tpos_enc_in_obj_ptrs:
            self.obj_ptr_tpos_proj = nn.Linear(C, self.mem_dim)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.no_mem_embed.device

    @property
    def pred_obj_scores(self) -> bool:
        """Whether the mask decoder predicts object scores."""
        return self.config.mask_decoder.pred_obj_scores

    @property
    def sam_image_embedding_size(self) -> int:
        """Cells per side of the image embedding."""
        return self.config.embedding_size

    @property
    def sam_prompt_embed_dim(self) -> int:
        """Channels of the image embedding and of prompts, by their official name."""
        return self.hidden_dim

    # Official scripts read and change behaviour as attributes of the model (``memory_temporal_stride_for_eval``):
    # these are the fields of the configuration, and a change must not go by unnoticed.

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            config = self.__dict__.get("config")
            if config is None or name not in _READABLE:
                raise
            return getattr(config, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _SETTABLE:
            self.config = replace(self.config, **{name: value})
        else:
            super().__setattr__(name, value)

    def forward(self, *_: object) -> None:
        """Not a verb of this model: use ``forward_image`` and ``track_step``, or a predictor."""
        raise TypeError("SAM2Base has no forward(); use SAM2ImagePredictor or SAM2VideoPredictor")

    # ------------------------------------------------------------------ encode an image

    def forward_image(self, img_batch: Tensor) -> ImageFeatures:
        """Normalised pictures (B,3,S,S) → features; the finer two already reduced for the mask decoder."""
        encoder, decoder = self.image_encoder, self.sam_mask_decoder
        if not self.use_high_res_features_in_sam:
            return cast(ImageFeatures, encoder(img_batch))
        if takes_reductions(encoder):
            return cast(ImageFeatures, encoder(img_batch, reductions=(decoder.conv_s0, decoder.conv_s1)))
        features: ImageFeatures = encoder(img_batch)
        features["backbone_fpn"][0] = decoder.conv_s0(features["backbone_fpn"][0])
        features["backbone_fpn"][1] = decoder.conv_s1(features["backbone_fpn"][1])
        return features

    def _prepare_backbone_features(
        self, backbone_out: ImageFeatures
    ) -> tuple[ImageFeatures, list[Tensor], list[Tensor], list[tuple[int, int]]]:
        """The official flat view: (features, levels as (h·w,B,C), positions likewise, sizes (h,w))."""
        levels = backbone_out["backbone_fpn"][-self.num_feature_levels :]
        positions = backbone_out["vision_pos_enc"][-self.num_feature_levels :]
        sizes = [(p.shape[-2], p.shape[-1]) for p in positions]
        return (
            backbone_out.copy(),
            [x.flatten(2).permute(2, 0, 1) for x in levels],
            [p.flatten(2).permute(2, 0, 1) for p in positions],
            sizes,
        )

    def no_memory_embedding(self, features: ImageFeatures) -> Tensor:
        """The embedding of a picture without a past, (B,C,h,w)."""
        embedding = features["vision_features"]
        if not self.config.directly_add_no_mem_embed:
            return embedding
        return embedding + self.no_mem_embed.reshape(1, -1, 1, 1)

    # ------------------------------------------------------------------ condition on memories

    def condition_on_memory(self, features: ImageFeatures, recall: Recall | None) -> Tensor:
        """Fuse a frame with what is recalled.

        Args:
            features: of one image (batch 1, shared by all objects) or of B.
            recall: memories of B objects; None, or one without memories, on an object's first frame.

        Returns:
            the conditioned embedding (B,C,h,w).
        """
        if recall is None or not (recall.spatial or recall.pointers):
            if not self.config.directly_add_no_mem_embed:
                raise ValueError("directly_add_no_mem_embed=false is not supported in videos; no released model has it")
            return self.no_memory_embedding(features)
        memory = self._memory_tokens(recall)
        embedding = features["vision_features"]
        h, w = embedding.shape[-2:]
        out = self.memory_attention(
            curr=embedding.flatten(2).transpose(1, 2),
            curr_pos=features["vision_pos_enc"][-1][:1].flatten(2).transpose(1, 2),
            memory=memory.tokens,
            memory_pos=memory.positions,
            num_obj_ptr_tokens=memory.num_pointer_tokens,
            grid=(h, w),
        )  # (B,hw,C)
        return out.transpose(1, 2).unflatten(2, (h, w))

    def _memory_tokens(self, recall: Recall) -> MemoryTokens:
        parts = [spatial_tokens(m, self.maskmem_tpos_enc[self.num_maskmem - 1 - m.t_pos]) for m in recall.spatial]
        if not recall.pointers:
            return concatenate(parts, 0)
        pointers = torch.stack([p.pointer for p in recall.pointers], dim=1)  # (B,P,C)
        codes = self._pointer_codes([p.offset for p in recall.pointers], recall.max_offset, pointers)
        tokens, positions = pointer_tokens(pointers, codes, self.mem_dim)
        return concatenate([*parts, (tokens, positions)], tokens.shape[1])

    def _pointer_codes(self, offsets: Sequence[float], max_offset: int, like: Tensor) -> Tensor:
        """Temporal codes of pointers, (P,Cm); zeros for SAM 2.0."""
        if not self.config.add_tpos_enc_to_obj_ptrs:
            return like.new_zeros(len(offsets), self.mem_dim)
        # A clip of one frame has no distance to divide by; the official code gives NaN there.
        at = torch.tensor(offsets, dtype=torch.float32, device=like.device) / max(max_offset, 1)
        width = self.hidden_dim if self.config.proj_tpos_enc_in_obj_ptrs else self.mem_dim
        return self.obj_ptr_tpos_proj(sine_position_1d(at, width).to(like.dtype))

    # ------------------------------------------------------------------ decode a mask

    def _forward_sam_heads(
        self,
        backbone_features: Tensor,
        point_inputs: PointInputs | None = None,
        mask_inputs: Tensor | None = None,
        high_res_features: Sequence[Tensor] | None = None,
        multimask_output: bool = False,
        choose: MaskChoice = best_iou,
    ) -> SamHeadsOutput:
        """Run prompt encoder and mask decoder.

        Args:
            backbone_features: conditioned embedding (B,C,h,w).
            point_inputs: clicks and box corners; None stands for one padding point.
            mask_inputs: a mask prompt (B,1,·,·), logits; resized to (4h,4w) if it is not.
            high_res_features: the two finer levels, of batch B or 1.
            multimask_output: decode three masks and keep the one that ``choose`` picks.
            choose: which of the masks is kept, the best predicted IoU by default.
        """
        B = backbone_features.shape[0]
        device = backbone_features.device
        if point_inputs is not None:
            points = (point_inputs["point_coords"], point_inputs["point_labels"])
        else:
            no_point = torch.full((B, 1), -1, dtype=torch.int32, device=device)
            points = (torch.zeros(B, 1, 2, device=device), no_point)
        if mask_inputs is not None:
            mask_inputs = _resize(mask_inputs.float(), self.sam_prompt_encoder.mask_input_size, antialias=True)

        sparse, dense = self.sam_prompt_encoder(points=points, boxes=None, masks=mask_inputs)
        multimasks, ious, tokens, score = self.sam_mask_decoder(
            image_embeddings=backbone_features,
            image_pe=self.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask_output,
            repeat_image=False,
            high_res_features=high_res_features,
        )
        present = score > 0  # (B,1)
        if self.config.mask_decoder.pred_obj_scores:
            multimasks = torch.where(present[..., None, None], multimasks, NO_OBJ_SCORE)
        multimasks = multimasks.float()  # interpolation of half precision is missing on some devices
        row = torch.arange(B, device=device)
        pick = choose(multimasks, ious, score) if multimask_output else torch.zeros_like(row)
        low_res_masks = multimasks[row, pick][:, None]
        token = tokens[row, pick] if tokens.shape[1] > 1 else tokens[:, 0]
        return SamHeadsOutput(
            low_res_multimasks=multimasks,
            ious=ious,
            low_res_masks=low_res_masks,
            obj_ptr=self._object_pointer(token, score, present),
            object_score_logits=score,
            size=(self.image_size, self.image_size),
            pick=pick,
        )

    def _object_pointer(self, token: Tensor, score: Tensor, present: Tensor) -> Tensor:
        pointer: Tensor = self.obj_ptr_proj(token)
        if not self.config.mask_decoder.pred_obj_scores:
            return pointer
        there = score.sigmoid() if self.config.soft_no_obj_ptr else present.to(pointer.dtype)
        return self._mix_no_object(pointer, there)

    def _mix_no_object(self, pointer: Tensor, there: Tensor) -> Tensor:
        if self.config.fixed_no_obj_ptr:
            pointer = there * pointer
        return pointer + (1 - there) * self.no_obj_ptr

    def _use_mask_as_output(
        self,
        backbone_features: Tensor,
        high_res_features: Sequence[Tensor] | None,
        mask_inputs: Tensor,
    ) -> SamHeadsOutput:
        """Take a given mask (B,1,S,S) in 0…1 as the result; the network only makes its object pointer."""
        mask = mask_inputs.float()
        high_res = mask * 20.0 - 10.0
        low_res = _resize(high_res, (mask.shape[-2] // 4, mask.shape[-1] // 4), antialias=True)
        heads = self._forward_sam_heads(
            backbone_features.expand(mask.shape[0], -1, -1, -1),
            mask_inputs=self.mask_downsample(mask.to(self.mask_downsample.weight.dtype)),
            high_res_features=high_res_features,
        )
        there = (mask.flatten(1) > 0).any(dim=1, keepdim=True).to(mask.dtype)  # (B,1)
        pointer = heads.obj_ptr
        if self.config.mask_decoder.pred_obj_scores:
            pointer = self._mix_no_object(pointer, there)
        return SamHeadsOutput(
            low_res_multimasks=low_res,
            ious=mask.new_ones(mask.shape[0], 1),
            low_res_masks=low_res,
            obj_ptr=pointer,
            object_score_logits=there * 20.0 - 10.0,
            size=(self.image_size, self.image_size),
            pick=torch.zeros(mask.shape[0], dtype=torch.long, device=mask.device),
            given_high_res=high_res,
        )

    def use_multimask(self, is_init_cond_frame: bool, point_inputs: PointInputs | None) -> bool:
        """Whether a frame is decoded to three masks: by the number of its points, and whether it is tracked."""
        config = self.config
        num_points = 0 if point_inputs is None else point_inputs["point_labels"].shape[1]
        return (
            config.multimask_output_in_sam
            and (is_init_cond_frame or config.multimask_output_for_tracking)
            and config.multimask_min_pt_num <= num_points <= config.multimask_max_pt_num
        )

    # ------------------------------------------------------------------ encode a memory

    def encode_memory(
        self,
        features: ImageFeatures,
        high_res_masks: Tensor,
        object_score_logits: Tensor,
        is_mask_from_pts: bool,
    ) -> EncodedMemory:
        """Make the memory of a frame.

        Args:
            features: of the frame, before any conditioning; batch 1 or B.
            high_res_masks: logits (B,1,S,S).
            object_score_logits: (B,1).
            is_mask_from_pts: the mask comes from a prompt, so it is binarised if the configuration says so.
        """
        config = self.config
        if config.non_overlap_masks_for_mem_enc and not self.training:
            high_res_masks = non_overlapping(high_res_masks)
        if is_mask_from_pts and config.binarize_mask_from_pts_for_mem_enc and not self.training:
            mask = (high_res_masks > 0).to(high_res_masks.dtype)
        else:
            mask = high_res_masks.sigmoid()
        mask = mask * config.sigmoid_scale_for_mem_enc + config.sigmoid_bias_for_mem_enc
        encoded: EncodedMemory = self.memory_encoder(features["vision_features"], mask, skip_mask_sigmoid=True)
        if self.no_obj_embed_spatial is None:
            return encoded
        absent = (object_score_logits <= 0).to(encoded.features.dtype)[..., None, None]  # (B,1,1,1)
        return encoded._replace(features=encoded.features + absent * self.no_obj_embed_spatial[..., None, None])

    # ------------------------------------------------------------------ the four in order

    def track_step(
        self,
        features: ImageFeatures,
        *,
        recall: Recall | None,
        point_inputs: PointInputs | None = None,
        mask_inputs: Tensor | None = None,
        prev_low_res_logits: Tensor | None = None,
        run_memory_encoder: bool = True,
        choose: MaskChoice = best_iou,
    ) -> FrameOutput:
        """Segment one frame for B objects.

        Args:
            features: of the frame (``forward_image``), batch 1 or B.
            recall: what the objects remember; None on their first prompted frame.
            point_inputs: clicks on this frame.
            mask_inputs: a given mask (B,1,S,S); then clicks are not used.
            prev_low_res_logits: (B,1,4h,4w) of an earlier answer on this frame, as a mask prompt beside the clicks.
            run_memory_encoder: also encode the memory; otherwise it can be made later with ``encode_memory``.
            choose: which of several masks is kept.
        """
        if mask_inputs is not None and self.config.use_mask_input_as_output_without_sam:
            heads = self._use_mask_as_output(features["vision_features"], features.high_res, mask_inputs)
        else:
            heads = self._forward_sam_heads(
                self._for_each_object(self.condition_on_memory(features, recall), point_inputs, mask_inputs),
                point_inputs,
                prev_low_res_logits if prev_low_res_logits is not None else mask_inputs,
                features.high_res,
                self.use_multimask(recall is None, point_inputs),
                choose,
            )
        out = FrameOutput.of(heads)
        if not run_memory_encoder or self.num_maskmem == 0:
            return out
        memory = self.encode_memory(
            features,
            heads.high_res_masks,
            heads.object_score_logits,
            is_mask_from_pts=point_inputs is not None,
        )
        return replace(out, memory=memory.features, memory_position=memory.position)

    @staticmethod
    def _for_each_object(embedding: Tensor, points: PointInputs | None, masks: Tensor | None) -> Tensor:
        B = points["point_labels"].shape[0] if points is not None else 1 if masks is None else masks.shape[0]
        return embedding.expand(max(B, embedding.shape[0]), -1, -1, -1)


def non_overlapping(masks: Tensor) -> Tensor:
    """Keep at each pixel the object with the highest logit; the others are lowered to at most -10. (B,1,H,W)."""
    if masks.shape[0] == 1:
        return masks
    winner = masks.argmax(dim=0, keepdim=True)
    index = torch.arange(masks.shape[0], device=masks.device)[:, None, None, None]
    return torch.where(winner == index, masks, masks.clamp(max=-10.0))


def _resize(x: Tensor, size: tuple[int, int], antialias: bool = False) -> Tensor:
    if x.shape[-2:] == torch.Size(size):
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=antialias)


def _small(*shape: int) -> Tensor:
    return nn.init.trunc_normal_(torch.empty(*shape), std=0.02)
