"""The engine: runs the network over a session's frames and files the answers. Offline and live tracking share it.

Objects whose memories have the same layout are stacked and pass the network in one call; others go singly. The image is
encoded once a frame, whatever the number of objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from samphony.errors import StateError
from samphony.model.base import NO_OBJ_SCORE, SAM2Base, non_overlapping
from samphony.model.features import ImageFeatures, as_features
from samphony.model.memory import PointerMemory, Recall, SpatialMemory
from samphony.model.outputs import FrameOutput, MaskChoice, best_iou
from samphony.predict.heap import holes
from samphony.predict.video.cleaning import clean_logits
from samphony.predict.video.memory_bank import Memory, MemoryBank
from samphony.predict.video.options import VideoOptions
from samphony.predict.video.policies import Candidates, MemoryPolicy, Moment, Selection
from samphony.predict.video.session import VideoSession
from samphony.predict.video.tracked_object import PointPrompt, TrackedObject


class Engine:
    """Network and options together; all state is in the session it is given."""

    takes_pictures: ClassVar[bool] = True
    """Whether ``track`` uses a picture that was decoded ahead."""

    def __init__(self, model: SAM2Base, options: VideoOptions) -> None:
        self.model = model
        self.options = options

    # Images

    def features(self, session: VideoSession, frame_idx: int, picture: Tensor | None = None) -> ImageFeatures:
        """Image features of a frame: cached, or made of ``picture`` or the source's frame."""
        _, cached = session.features.get(frame_idx, (None, None))
        if cached is not None:
            return as_features(cached)
        if picture is None:
            picture = session.picture(frame_idx)
        session.features = {}  # the old features are freed before the new ones are made
        holes.hand_back()
        batch = picture.to(session.device).float()[None]
        features = self.model.forward_image(batch)
        session.keep_features(frame_idx, batch, features)
        return features

    # Prompts

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
        """Answer a prompt of one object on one frame; the memory is encoded later.

        is_first: the frame was not tracked before, so no memory is used. previous: an earlier answer on this frame,
        which goes in as a mask prompt beside the clicks.
        """
        recall = None
        if not is_first:
            if not o.bank.conditioning:
                raise StateError(
                    f"object {o.obj_id!r} has no conditioning frame left, so tracked frame {frame_idx} cannot be "
                    "corrected; prompt a frame that was not tracked, or set add_all_frames_to_correct_as_cond"
                )
            moment = self._moment(session, frame_idx, o.tracked.get(frame_idx, False))
            recall = gather([o.bank], [o.policy.recall(o.bank, moment)], session.device)
        logits = None
        if previous is not None and points is not None:
            logits = previous.low_res_masks.to(session.device).clamp(-32.0, 32.0)
        out = self.model.track_step(
            self.features(session, frame_idx),
            recall=recall,
            point_inputs=None if points is None else points.inputs,
            mask_inputs=mask,
            prev_low_res_logits=logits,
            run_memory_encoder=False,
        )
        return self._records(session, frame_idx, out, [0.0])[0]

    def encode_pending(self, session: VideoSession) -> None:
        """Turn the pending answers of all objects into memories (officially the preflight of tracking)."""
        for o in session.objects.values():
            for is_conditioning in (False, True):
                pending = o.pending(is_conditioning)
                for frame_idx in list(pending):
                    memory = self._with_memory(session, pending[frame_idx])
                    if is_conditioning:
                        o.bank.conditioning[frame_idx] = memory
                    else:
                        o.bank.put_tracked(memory)
                    del pending[frame_idx]
            for frame_idx in o.bank.conditioning:
                o.bank.drop_tracked(frame_idx)

    def _with_memory(self, session: VideoSession, memory: Memory) -> Memory:
        if memory.features is not None or self.model.num_maskmem == 0:
            return memory
        size = (self.model.image_size, self.model.image_size)
        masks = F.interpolate(memory.low_res_masks.to(session.device), size=size, mode="bilinear", align_corners=False)
        encoded = self.model.encode_memory(
            self.features(session, memory.frame_idx), masks, memory.object_score, is_mask_from_pts=True
        )
        return replace(memory, features=self._stored(session, encoded.features), position=encoded.position[:1])

    # Tracking

    def track(
        self,
        session: VideoSession,
        frame_idx: int,
        objects: Iterable[TrackedObject],
        reverse: bool,
        picture: Tensor | None = None,
    ) -> None:
        """Segment objects on a frame from their memories and file the result in their banks."""
        moment = self._moment(session, frame_idx, reverse)
        groups: dict[object, list[tuple[TrackedObject, Selection]]] = {}
        for place, o in enumerate(objects):
            selection = o.policy.recall(o.bank, moment)
            alone = () if self._can_batch else (place,)
            groups.setdefault((selection.layout, *alone), []).append((o, selection))
        if not groups:
            return
        features = self.features(session, frame_idx, picture)
        found: list[tuple[TrackedObject, Memory]] = []
        for group in groups.values():
            members = [o for o, _ in group]
            recall = gather([o.bank for o in members], [selection for _, selection in group], session.device)
            choose = _Chooser(members, moment)
            out = self.model.track_step(features, recall=recall, choose=choose.function)
            found += zip(members, self._records(session, frame_idx, out, choose.marks), strict=True)
        for o, memory in found:
            o.bank.put_tracked(memory)

    @property
    def _can_batch(self) -> bool:
        # Non-overlapping memories compare the objects of a batch; officially a batch holds one object.
        return self.options.batch_objects and not self.model.config.non_overlap_masks_for_mem_enc

    def _moment(self, session: VideoSession, frame_idx: int, reverse: bool) -> Moment:
        return Moment(frame_idx, reverse, session.num_frames, self.model.config)

    def _records(self, session: VideoSession, frame_idx: int, out: FrameOutput, marks: Sequence[float]) -> list[Memory]:
        """One memory for each object of a network call."""
        low_res = clean_logits(out.low_res_masks, self.options.fill_hole_area, self.options.remove_sprinkle_area)
        low_res = low_res.to(session.storage_device)
        features = None if out.memory is None else self._stored(session, out.memory)
        position = None if out.memory_position is None else out.memory_position[:1]

        def own(x: Tensor, row: int) -> Tensor:
            # A row of a batch would keep the whole batch alive.
            return x[row : row + 1].clone() if x.shape[0] > 1 else x

        return [
            Memory(
                frame_idx,
                own(low_res, row),
                own(out.obj_ptr, row),
                own(out.object_score_logits, row),
                own(out.iou, row),
                None if features is None else own(features, row),
                position,
                marks[row] if marks else 0.0,
            )
            for row in range(low_res.shape[0])
        ]

    @staticmethod
    def _stored(session: VideoSession, features: Tensor) -> Tensor:
        # Stored as bfloat16 also in float32 runs, as officially.
        return features.to(torch.bfloat16).to(session.storage_device)

    # Answers

    def video_logits(self, session: VideoSession, memories: Sequence[Memory | None]) -> Tensor:
        """Logits (N,1,H,W) at the video's size; -1024 where an object has no answer."""
        size = (session.height, session.width)
        known = [m.low_res_masks.to(session.device) for m in memories if m is not None]
        if not known:
            return torch.full((len(memories), 1, *size), NO_OBJ_SCORE, device=session.device)
        logits = torch.cat(known) if len(known) > 1 else known[0]
        if logits.shape[-2:] != size:
            logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        if len(known) < len(memories):
            every = torch.full((len(memories), 1, *size), NO_OBJ_SCORE, device=session.device)
            every[[i for i, m in enumerate(memories) if m is not None]] = logits
            logits = every
        return non_overlapping(logits) if self.options.non_overlap_masks else logits


def gather(banks: Sequence[MemoryBank], selections: Sequence[Selection], device: torch.device) -> Recall:
    """Stack the selected memories of banks whose selections have one layout."""

    def stack(frames: Iterable[int], part: str) -> Tensor:
        memories = (bank.any(t) for bank, t in zip(banks, frames, strict=True))
        tensors = [getattr(m, part).to(device) for m in memories]
        return torch.cat(tensors) if len(tensors) > 1 else tensors[0]

    spatial = []
    for column in zip(*(s.spatial for s in selections), strict=True):
        frames = [t for t, _ in column]
        first = banks[0].any(frames[0])
        assert first is not None
        if first.position is None:
            raise StateError(f"the record of frame {frames[0]} holds no memory (maskmem_pos_enc is None)")
        spatial.append(SpatialMemory(stack(frames, "features"), first.position.to(device), column[0][1]))
    pointers = [
        PointerMemory(stack([t for t, _ in column], "pointer"), column[0][1])
        for column in zip(*(s.pointers for s in selections), strict=True)
    ]
    return Recall(tuple(spatial), tuple(pointers), selections[0].max_offset)


class _Chooser:
    """Lets each object's policy choose its mask, and keeps the marks they give."""

    def __init__(self, objects: Sequence[TrackedObject], moment: Moment) -> None:
        self.marks: list[float] = []
        self._objects, self._moment = objects, moment
        plain = all(type(o.policy).choose is MemoryPolicy.choose for o in objects)
        self.function: MaskChoice = best_iou if plain else self._choose

    def _choose(self, low_res_multimasks: Tensor, ious: Tensor, object_score_logits: Tensor) -> Tensor:
        choices = [
            o.policy.choose(
                Candidates(low_res_multimasks[row], ious[row], object_score_logits[row]), o.bank, self._moment
            )
            for row, o in enumerate(self._objects)
        ]
        self.marks = [choice.mark for choice in choices]
        return torch.tensor([choice.index for choice in choices], device=ious.device)
