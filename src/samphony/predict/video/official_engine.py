"""The engine of predictors that override a step of the official network: every frame goes through their methods."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from dataclasses import replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from samphony.predict.video.engine import Engine
from samphony.predict.video.memory_bank import Memory
from samphony.predict.video.official_helpers import OfficialHelpers
from samphony.predict.video.official_objects import CONDITIONING, OTHERS, OUTPUTS, memory_of
from samphony.predict.video.session import VideoSession
from samphony.predict.video.state_session import StateSession
from samphony.predict.video.tracked_object import PointPrompt, TrackedObject

STEPS = (
    "_encode_memory_in_output",
    "_encode_new_memory",
    "_forward_sam_heads",
    "_get_image_feature",
    "_get_maskmem_pos_enc",
    "_prepare_backbone_features",
    "_prepare_memory_conditioned_features",
    "_run_memory_encoder",
    "_run_single_frame_inference",
    "_track_step",
    "_use_mask_as_output",
    "_use_multimask",
    "forward_image",
    "track_step",
)
"""The methods that, overridden, change what happens on a frame."""


def overrides_a_step(predictor: OfficialHelpers) -> bool:
    """Whether a subclass, or an attribute of the instance, stands in the place of one of the steps."""
    kind, own = type(predictor), vars(predictor)
    return any(name in own or getattr(kind, name) is not getattr(OfficialHelpers, name) for name in STEPS)


class OfficialEngine(Engine):
    """Runs object by object through the predictor's own steps, over official records."""

    takes_pictures = False  # ``_get_image_feature`` reads the state, as officially

    def __init__(self, predictor: OfficialHelpers) -> None:
        super().__init__(predictor.model, predictor.options)
        self._predictor = predictor

    def segment_prompt(
        self,
        session: VideoSession,
        o: TrackedObject,
        frame_idx: int,
        points: PointPrompt | None,
        mask: Tensor | None,
        is_first: bool,
        previous: Memory | None,
    ) -> Memory:
        logits = None
        if previous is not None and points is not None:
            logits = previous.low_res_masks.to(session.device).clamp(-32.0, 32.0)
        record, _ = self._predictor._run_single_frame_inference(
            inference_state=_state(session),
            output_dict=_outputs(session, o),
            frame_idx=frame_idx,
            batch_size=1,
            is_init_cond_frame=is_first,
            point_inputs=None if points is None else points.inputs,
            mask_inputs=mask,
            reverse=o.tracked.get(frame_idx, False),
            run_mem_encoder=False,
            prev_sam_mask_logits=logits,
        )
        return memory_of(frame_idx, record)

    def _with_memory(self, session: VideoSession, memory: Memory) -> Memory:
        if memory.features is not None or self.model.num_maskmem == 0:
            return memory
        size = (self.model.image_size, self.model.image_size)
        masks = F.interpolate(memory.low_res_masks.to(session.device), size=size, mode="bilinear", align_corners=False)
        features, position = self._predictor._run_memory_encoder(
            inference_state=_state(session),
            frame_idx=memory.frame_idx,
            batch_size=1,
            high_res_masks=masks,
            object_score_logits=memory.object_score,
            is_mask_from_pts=True,
        )
        return replace(memory, features=features, position=None if position is None else position[-1])

    def track(
        self,
        session: VideoSession,
        frame_idx: int,
        objects: Iterable[TrackedObject],
        reverse: bool,
        picture: Tensor | None = None,
    ) -> None:
        for o in objects:
            record, _ = self._predictor._run_single_frame_inference(
                inference_state=_state(session),
                output_dict=_outputs(session, o),
                frame_idx=frame_idx,
                batch_size=1,
                is_init_cond_frame=False,
                point_inputs=None,
                mask_inputs=None,
                reverse=reverse,
                run_mem_encoder=True,
            )
            _outputs(session, o)[OTHERS][frame_idx] = record  # as it is: a subclass may have put more into it


def _state(session: VideoSession) -> MutableMapping[str, Any]:
    return session.state if isinstance(session, StateSession) else session


def _outputs(session: VideoSession, o: TrackedObject) -> dict[str, dict[int, Any]]:
    state = _state(session)
    place = state["obj_id_to_idx"].get(o.obj_id)
    return {CONDITIONING: {}, OTHERS: {}} if place is None else state[OUTPUTS][place]
