"""The network's steps under their official names and signatures, for code that is written against them.

Our own engine does not go through these; it does once a subclass overrides one of them (``official_engine.py``).
Official records go in and out; flat features are lists of (hw,B,C), fine to coarse, with their sizes (h,w).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from samphony.model.base import SAM2Base, non_overlapping
from samphony.model.features import ImageFeatures
from samphony.predict.video.engine import gather
from samphony.predict.video.official_objects import bank_of
from samphony.predict.video.policies import MemoryPolicy, Moment

Sizes = Sequence[tuple[int, int]]
Record = dict[str, Any]


class OfficialNetwork:
    """Methods of the official ``SAM2Base`` that subclasses override and scripts call."""

    model: SAM2Base
    policy: MemoryPolicy

    def forward_image(self, img_batch: Tensor) -> Any:
        """Normalised pictures (B,3,S,S) → features, readable as the official mapping."""
        return self.model.forward_image(img_batch)

    def _prepare_backbone_features(self, backbone_out: Any) -> tuple[Any, list[Tensor], list[Tensor], Sizes]:
        """Features as (mapping, flat levels, flat positions, sizes)."""
        levels: list[Tensor] = backbone_out["backbone_fpn"][-self.model.num_feature_levels :]
        positions: list[Tensor] = backbone_out["vision_pos_enc"][-self.model.num_feature_levels :]
        sizes = [(p.shape[-2], p.shape[-1]) for p in positions]
        return backbone_out, [_flat(x) for x in levels], [_flat(p) for p in positions], sizes

    def track_step(
        self,
        frame_idx: int,
        is_init_cond_frame: bool,
        current_vision_feats: Sequence[Tensor],
        current_vision_pos_embeds: Sequence[Tensor],
        feat_sizes: Sizes,
        point_inputs: Mapping[str, Tensor] | None,
        mask_inputs: Tensor | None,
        output_dict: Mapping[str, dict[int, Any]],
        num_frames: int,
        track_in_reverse: bool = False,
        run_mem_encoder: bool = True,
        prev_sam_mask_logits: Tensor | None = None,
    ) -> Record:
        """Segment one frame of B objects whose past is ``output_dict``; the official record, uncompressed."""
        current_out, sam_outputs, _, _ = self._track_step(
            frame_idx,
            is_init_cond_frame,
            current_vision_feats,
            current_vision_pos_embeds,
            feat_sizes,
            point_inputs,
            mask_inputs,
            output_dict,
            num_frames,
            track_in_reverse,
            prev_sam_mask_logits,
        )
        _, _, ious, low_res_masks, high_res_masks, pointer, score = sam_outputs
        current_out |= {
            "pred_masks": low_res_masks,
            "pred_masks_high_res": high_res_masks,
            "obj_ptr": pointer,
            "object_score_logits": score,
            "iou": ious.amax(dim=-1),
        }
        self._encode_memory_in_output(
            current_vision_feats, feat_sizes, point_inputs, run_mem_encoder, high_res_masks, score, current_out
        )
        return current_out

    def _track_step(
        self,
        frame_idx: int,
        is_init_cond_frame: bool,
        current_vision_feats: Sequence[Tensor],
        current_vision_pos_embeds: Sequence[Tensor],
        feat_sizes: Sizes,
        point_inputs: Mapping[str, Tensor] | None,
        mask_inputs: Tensor | None,
        output_dict: Mapping[str, dict[int, Any]],
        num_frames: int,
        track_in_reverse: bool,
        prev_sam_mask_logits: Tensor | None,
    ) -> tuple[Record, Any, list[Tensor] | None, Tensor]:
        """(prompts as a record, the seven outputs of the heads, finer levels, conditioned embedding)."""
        current_out: Record = {"point_inputs": point_inputs, "mask_inputs": mask_inputs}
        *finer, embedding = [_map(x, size) for x, size in zip(current_vision_feats, feat_sizes, strict=True)]
        high_res = finer or None
        if mask_inputs is not None and self.model.use_mask_input_as_output_without_sam:
            return current_out, self._use_mask_as_output(embedding, high_res, mask_inputs), high_res, embedding
        conditioned = self._prepare_memory_conditioned_features(
            frame_idx=frame_idx,
            is_init_cond_frame=is_init_cond_frame,
            current_vision_feats=current_vision_feats[-1:],
            current_vision_pos_embeds=current_vision_pos_embeds[-1:],
            feat_sizes=feat_sizes[-1:],
            output_dict=output_dict,
            num_frames=num_frames,
            track_in_reverse=track_in_reverse,
        )
        outputs = self._forward_sam_heads(
            backbone_features=conditioned,
            point_inputs=point_inputs,
            mask_inputs=mask_inputs if prev_sam_mask_logits is None else prev_sam_mask_logits,
            high_res_features=high_res,
            multimask_output=self._use_multimask(is_init_cond_frame, point_inputs),
        )
        return current_out, outputs, high_res, conditioned

    def _prepare_memory_conditioned_features(
        self,
        frame_idx: int,
        is_init_cond_frame: bool,
        current_vision_feats: Sequence[Tensor],
        current_vision_pos_embeds: Sequence[Tensor],
        feat_sizes: Sizes,
        output_dict: Mapping[str, dict[int, Any]],
        num_frames: int,
        track_in_reverse: bool = False,
    ) -> Tensor:
        """The embedding (B,C,h,w), fused with what the policy recalls of ``output_dict``."""
        features = _features(current_vision_feats[-1:], current_vision_pos_embeds[-1:], feat_sizes[-1:])
        if is_init_cond_frame:
            return self.model.condition_on_memory(features, None)
        bank = bank_of(output_dict)
        selection = self.policy.recall(bank, Moment(frame_idx, track_in_reverse, num_frames, self.model.config))
        return self.model.condition_on_memory(features, gather([bank], [selection], features.embedding.device))

    def _forward_sam_heads(self, *args: Any, **kwargs: Any) -> Any:
        """The seven outputs of prompt encoder and mask decoder."""
        return tuple(self.model._forward_sam_heads(*args, **kwargs))

    def _use_mask_as_output(
        self, backbone_features: Tensor, high_res_features: Sequence[Tensor] | None, mask_inputs: Tensor
    ) -> Any:
        """The seven outputs where a mask is given."""
        return tuple(self.model._use_mask_as_output(backbone_features, high_res_features, mask_inputs))

    def _use_multimask(self, is_init_cond_frame: bool, point_inputs: Any) -> bool:
        """Whether a frame is decoded to three masks."""
        return self.model.use_multimask(is_init_cond_frame, point_inputs)

    def _encode_memory_in_output(
        self,
        current_vision_feats: Sequence[Tensor],
        feat_sizes: Sizes,
        point_inputs: Any,
        run_mem_encoder: bool,
        high_res_masks: Tensor,
        object_score_logits: Tensor,
        current_out: Record,
    ) -> None:
        """Put the memory of a frame into its record; None where it is not encoded now."""
        current_out["maskmem_features"] = current_out["maskmem_pos_enc"] = None
        if run_mem_encoder and self.model.num_maskmem > 0:
            current_out["maskmem_features"], current_out["maskmem_pos_enc"] = self._encode_new_memory(
                current_vision_feats=current_vision_feats,
                feat_sizes=feat_sizes,
                pred_masks_high_res=high_res_masks,
                object_score_logits=object_score_logits,
                is_mask_from_pts=point_inputs is not None,
            )

    def _encode_new_memory(
        self,
        current_vision_feats: Sequence[Tensor],
        feat_sizes: Sizes,
        pred_masks_high_res: Tensor,
        object_score_logits: Tensor,
        is_mask_from_pts: bool,
    ) -> tuple[Tensor, list[Tensor]]:
        """Memory features (B,Cm,h,w) and a list with their position code."""
        features = ImageFeatures([_map(current_vision_feats[-1], feat_sizes[-1])], [])
        memory = self.model.encode_memory(features, pred_masks_high_res, object_score_logits, is_mask_from_pts)
        return memory.features, [memory.position]

    @staticmethod
    def _apply_non_overlapping_constraints(pred_masks: Tensor) -> Tensor:
        """Logits (N,1,H,W), each pixel left to one object."""
        return non_overlapping(pred_masks)


def _flat(x: Tensor) -> Tensor:
    return x.flatten(2).permute(2, 0, 1)


def _map(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x.permute(1, 2, 0).unflatten(2, tuple(size))


def _features(flat: Sequence[Tensor], positions: Sequence[Tensor], sizes: Sizes) -> ImageFeatures:
    return ImageFeatures(
        [_map(x, size) for x, size in zip(flat, sizes, strict=True)],
        [_map(x, size) for x, size in zip(positions, sizes, strict=True)],
    )
