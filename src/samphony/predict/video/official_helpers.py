"""The official predictor's helpers, by name, over any inference state: a session or a dict that a script has made."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from samphony.model.base import NO_OBJ_SCORE, non_overlapping
from samphony.predict.video.cleaning import clean_logits
from samphony.predict.video.official_network import OfficialNetwork, Record
from samphony.predict.video.official_objects import CONDITIONING, MASKS, OTHERS, OUTPUTS, PENDING, POINTS, TRACKED
from samphony.predict.video.options import VideoOptions
from samphony.predict.video.tracked_object import ObjectId

State = MutableMapping[str, Any]


class OfficialHelpers(OfficialNetwork):
    """What scripts call beside the documented methods."""

    options: VideoOptions

    # Objects

    def _obj_id_to_idx(self, inference_state: State, obj_id: ObjectId) -> int:
        """The place of an object; a new one joins, without prompts."""
        places: dict[ObjectId, int] = inference_state["obj_id_to_idx"]
        if obj_id not in places:
            place = places[obj_id] = len(places)
            inference_state["obj_idx_to_id"][place] = obj_id
            inference_state["obj_ids"] = list(places)
            for key in (POINTS, MASKS, TRACKED):
                inference_state[key][place] = {}
            for key in (OUTPUTS, PENDING):
                inference_state[key][place] = {CONDITIONING: {}, OTHERS: {}}
        return places[obj_id]

    def _obj_idx_to_id(self, inference_state: State, obj_idx: int) -> ObjectId:
        """The id of the object at a place."""
        return inference_state["obj_idx_to_id"][obj_idx]

    def _get_obj_num(self, inference_state: State) -> int:
        """How many objects there are."""
        return len(inference_state["obj_idx_to_id"])

    def _reset_tracking_results(self, inference_state: State) -> None:
        """Forget prompts and answers of all objects; the objects stay."""
        for key in (POINTS, MASKS, TRACKED):
            for by_frame in inference_state[key].values():
                by_frame.clear()
        for key in (OUTPUTS, PENDING):
            for outputs in inference_state[key].values():
                outputs[CONDITIONING].clear()
                outputs[OTHERS].clear()

    # One frame

    def _get_image_feature(
        self, inference_state: State, frame_idx: int, batch_size: int
    ) -> tuple[Tensor, Any, list[Tensor], list[Tensor], Any]:
        """(picture (B,3,S,S), mapping of features, flat levels, flat positions, sizes) of a frame, for B objects."""
        picture, features = inference_state["cached_features"].get(frame_idx, (None, None))
        if features is None:
            picture = inference_state["images"][frame_idx].to(inference_state["device"]).float()[None]
            features = self.forward_image(picture)
            inference_state["cached_features"] = {frame_idx: (picture, features)}
        expanded = {
            name: [x.expand(batch_size, -1, -1, -1) for x in features[name]]
            for name in ("backbone_fpn", "vision_pos_enc")
        }
        return picture.expand(batch_size, -1, -1, -1), *self._prepare_backbone_features(expanded)

    def _run_single_frame_inference(
        self,
        inference_state: State,
        output_dict: Mapping[str, dict[int, Any]],
        frame_idx: int,
        batch_size: int,
        is_init_cond_frame: bool,
        point_inputs: Mapping[str, Tensor] | None,
        mask_inputs: Tensor | None,
        reverse: bool,
        run_mem_encoder: bool,
        prev_sam_mask_logits: Tensor | None = None,
    ) -> tuple[Record, Tensor]:
        """The record of a frame, as it is stored, and its low-resolution logits on the model's device."""
        _, _, flat, positions, sizes = self._get_image_feature(inference_state, frame_idx, batch_size)
        out = self.track_step(
            frame_idx=frame_idx,
            is_init_cond_frame=is_init_cond_frame,
            current_vision_feats=flat,
            current_vision_pos_embeds=positions,
            feat_sizes=sizes,
            point_inputs=point_inputs,
            mask_inputs=mask_inputs,
            output_dict=output_dict,
            num_frames=inference_state["num_frames"],
            track_in_reverse=reverse,
            run_mem_encoder=run_mem_encoder,
            prev_sam_mask_logits=prev_sam_mask_logits,
        )
        logits = clean_logits(out["pred_masks"], self.options.fill_hole_area, self.options.remove_sprinkle_area)
        record = {
            "maskmem_features": self._stored(inference_state, out["maskmem_features"]),
            "maskmem_pos_enc": self._get_maskmem_pos_enc(inference_state, out),
            "pred_masks": logits.to(inference_state["storage_device"]),
            "obj_ptr": out["obj_ptr"],
            "object_score_logits": out["object_score_logits"],
        }
        if "iou" in out:  # not where a subclass makes the step without it
            record["iou"] = out["iou"]
        return record, logits

    def _run_memory_encoder(
        self,
        inference_state: State,
        frame_idx: int,
        batch_size: int,
        high_res_masks: Tensor,
        object_score_logits: Tensor,
        is_mask_from_pts: bool,
    ) -> tuple[Tensor | None, list[Tensor] | None]:
        """The memory of a frame, made of masks (B,1,S,S), as it is stored."""
        _, _, flat, _, sizes = self._get_image_feature(inference_state, frame_idx, batch_size)
        features, position = self._encode_new_memory(
            current_vision_feats=flat,
            feat_sizes=sizes,
            pred_masks_high_res=high_res_masks,
            object_score_logits=object_score_logits,
            is_mask_from_pts=is_mask_from_pts,
        )
        stored = self._stored(inference_state, features)
        return stored, self._get_maskmem_pos_enc(inference_state, {"maskmem_pos_enc": position})

    @staticmethod
    def _stored(inference_state: State, features: Tensor | None) -> Tensor | None:
        return None if features is None else features.to(torch.bfloat16).to(inference_state["storage_device"])

    def _get_maskmem_pos_enc(self, inference_state: State, current_out: Mapping[str, Any]) -> list[Tensor] | None:
        """The position code of memories, for as many objects as the record has; kept once for all frames."""
        given: list[Tensor] | None = current_out["maskmem_pos_enc"]
        if given is None:
            return None
        constants: dict[str, Any] = inference_state["constants"]
        if "maskmem_pos_enc" not in constants:
            constants["maskmem_pos_enc"] = [x[:1].clone() for x in given]
        return [x.expand(given[0].shape[0], -1, -1, -1) for x in constants["maskmem_pos_enc"]]

    # Answers

    def _get_orig_video_res_output(self, inference_state: State, any_res_masks: Tensor) -> tuple[Tensor, Tensor]:
        """(the logits on the model's device, the logits (N,1,H,W) at the video's size)."""
        masks = any_res_masks.to(inference_state["device"])
        size = (inference_state["video_height"], inference_state["video_width"])
        resized = _resize(masks, size)
        return masks, non_overlapping(resized) if self.options.non_overlap_masks else resized

    def _consolidate_temp_output_across_obj(
        self, inference_state: State, frame_idx: int, is_cond: bool, consolidate_at_video_res: bool = False
    ) -> dict[str, Tensor]:
        """The newest logits of all objects on a frame, (N,1,·,·); -1024 where an object has none."""
        name, size = "pred_masks", (self.model.image_size // 4, self.model.image_size // 4)
        if consolidate_at_video_res:
            name, size = "pred_masks_video_res", (inference_state["video_height"], inference_state["video_width"])
        every = torch.full(
            (self._get_obj_num(inference_state), 1, *size), NO_OBJ_SCORE, device=inference_state["storage_device"]
        )
        for place in range(len(every)):
            outputs = inference_state[OUTPUTS][place]
            shelves = (
                inference_state[PENDING][place][CONDITIONING if is_cond else OTHERS],
                outputs[CONDITIONING],
                outputs[OTHERS],
            )
            record = next((shelf[frame_idx] for shelf in shelves if frame_idx in shelf), None)
            if record is not None:
                every[place] = _resize(record["pred_masks"], size)[0]
        return {name: every}

    def _clear_non_cond_mem_around_input(self, inference_state: State, frame_idx: int) -> None:
        """Forget the tracked memories around a frame, of all objects."""
        around = self.model.memory_temporal_stride_for_eval * self.model.num_maskmem
        for outputs in inference_state[OUTPUTS].values():
            for t in range(frame_idx - around, frame_idx + around + 1):
                outputs[OTHERS].pop(t, None)


def _resize(masks: Tensor, size: tuple[int, int]) -> Tensor:
    if masks.shape[-2:] == size:
        return masks
    return F.interpolate(masks, size=size, mode="bilinear", align_corners=False)
