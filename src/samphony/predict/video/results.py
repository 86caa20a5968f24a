"""What tracking answers: one record a frame, one an object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from torch import Tensor

from samphony.media.masks import mask_boxes
from samphony.predict.video.tracked_object import ObjectId


@dataclass(frozen=True)
class ObjectResult:
    """One object on one frame.

    logits: (H,W) at the video's size, positive inside. low_res_logits: (4h,4w) as decoded. iou: predicted, 0…1.
    object_score: logit, positive where the object is thought to be in the frame.
    """

    obj_id: ObjectId
    logits: Tensor
    low_res_logits: Tensor
    iou: float
    object_score: float

    @cached_property
    def mask(self) -> npt.NDArray[np.bool_]:
        """(H,W) bool."""
        return (self.logits > 0).cpu().numpy()

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """x0, y0, x1, y1: smallest and largest pixel index of the mask, or None where it is empty."""
        if not self.mask.any():
            return None
        x0, y0, x1, y1 = (int(v) for v in mask_boxes(self.mask))
        return x0, y0, x1, y1

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return int(self.mask.sum())

    @property
    def present(self) -> bool:
        """Whether the network thinks that the object is in the frame."""
        return self.object_score > 0


@dataclass(frozen=True)
class FrameResult:
    """All objects on one frame, in the order in which they were added. logits: (N,1,H,W) at the video's size."""

    frame_idx: int
    objects: tuple[ObjectResult, ...]
    logits: Tensor

    @property
    def obj_ids(self) -> list[ObjectId]:
        """Ids of the objects."""
        return [o.obj_id for o in self.objects]

    def __getitem__(self, obj_id: ObjectId) -> ObjectResult:
        for o in self.objects:
            if o.obj_id == obj_id:
                return o
        raise KeyError(f"frame {self.frame_idx} has no object {obj_id!r}; it has {self.obj_ids}")

    def __iter__(self) -> Iterator[ObjectResult]:
        return iter(self.objects)

    def __len__(self) -> int:
        return len(self.objects)
