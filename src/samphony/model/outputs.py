"""What the mask heads and a whole step give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

MaskChoice = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Low-res logits (B,M,4h,4w), IoU (B,M), object score logits (B,1) → which mask is kept, (B,) long."""


def best_iou(low_res_multimasks: Tensor, ious: Tensor, object_score_logits: Tensor) -> Tensor:
    """The mask with the highest predicted IoU."""
    return ious.argmax(dim=-1)


@dataclass(frozen=True)
class SamHeadsOutput:
    """Masks of one decoding. It unpacks into the official seven values.

    low_res_multimasks: (B,M,4h,4w). ious: (B,M). low_res_masks: (B,1,4h,4w), the one kept. obj_ptr: (B,C).
    object_score_logits: (B,1). pick: (B,), index of the kept mask. Full-size logits are made when asked for.
    """

    low_res_multimasks: Tensor
    ious: Tensor
    low_res_masks: Tensor
    obj_ptr: Tensor
    object_score_logits: Tensor
    size: tuple[int, int]
    pick: Tensor
    given_high_res: Tensor | None = None

    @property
    def high_res_masks(self) -> Tensor:
        """The kept mask at the model's input size, (B,1,S,S)."""
        return self.given_high_res if self.given_high_res is not None else _enlarge(self.low_res_masks, self.size)

    @property
    def high_res_multimasks(self) -> Tensor:
        """All masks at the model's input size, (B,M,S,S)."""
        given = self.given_high_res
        return given if given is not None else _enlarge(self.low_res_multimasks, self.size)

    def __iter__(self) -> Iterator[Tensor]:
        yield self.low_res_multimasks
        yield self.high_res_multimasks
        yield self.ious
        yield self.low_res_masks
        yield self.high_res_masks
        yield self.obj_ptr
        yield self.object_score_logits


@dataclass(frozen=True)
class FrameOutput:
    """One frame of B objects, as ``SAM2Base.track_step`` gives it.

    low_res_masks: (B,1,4h,4w) logits; ``high_res_masks`` enlarges them to (B,1,S,S). obj_ptr: (B,C).
    object_score_logits: (B,1). iou: (B,), predicted, of the kept mask. memory, memory_position: (B,Cm,h,w), or None
    when the memory encoder did not run. heads: everything that the mask heads gave.
    """

    low_res_masks: Tensor
    obj_ptr: Tensor
    object_score_logits: Tensor
    iou: Tensor
    heads: SamHeadsOutput
    memory: Tensor | None = None
    memory_position: Tensor | None = None

    @property
    def high_res_masks(self) -> Tensor:
        """The kept mask at the model's input size, (B,1,S,S)."""
        return self.heads.high_res_masks

    @classmethod
    def of(cls, heads: SamHeadsOutput) -> FrameOutput:
        """A frame without memory."""
        iou = heads.ious.gather(1, heads.pick[:, None])[:, 0]
        return cls(heads.low_res_masks, heads.obj_ptr, heads.object_score_logits, iou, heads)


def _enlarge(masks: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(masks, size=size, mode="bilinear", align_corners=False)
