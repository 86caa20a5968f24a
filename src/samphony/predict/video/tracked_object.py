"""One object of a session: its prompts, what is pending, what it remembers."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from samphony.predict.video.memory_bank import Memory, MemoryBank
from samphony.predict.video.policies import OFFICIAL, MemoryPolicy

ObjectId = int | str
"""The user's name for an object; it never changes, whatever place the object has in a batch."""


@dataclass(frozen=True)
class PointPrompt:
    """Clicks and box corners of one object on one frame: coords (1,N,2) px of the model's input, labels (1,N) int32."""

    coords: Tensor
    labels: Tensor

    def extended(self, other: PointPrompt) -> PointPrompt:
        """These points, then the other's."""
        return PointPrompt(torch.cat([self.coords, other.coords], dim=1), torch.cat([self.labels, other.labels], dim=1))

    @property
    def inputs(self) -> dict[str, Tensor]:
        """As the network takes them."""
        return {"point_coords": self.coords, "point_labels": self.labels}


@dataclass
class TrackedObject:
    """Everything known of one object.

    points, masks: prompts by frame; a frame has one kind or the other. pending_conditioning, pending_corrections:
    answers to prompts that have not been encoded to memories yet; that happens before the next tracking. tracked: for
    each frame passed by tracking, whether it was passed in reverse.
    """

    obj_id: ObjectId
    bank: MemoryBank
    policy: MemoryPolicy = OFFICIAL
    points: MutableMapping[int, PointPrompt] = field(default_factory=dict)
    masks: MutableMapping[int, Tensor] = field(default_factory=dict)
    pending_conditioning: MutableMapping[int, Memory] = field(default_factory=dict)
    pending_corrections: MutableMapping[int, Memory] = field(default_factory=dict)
    tracked: MutableMapping[int, bool] = field(default_factory=dict)
    pinned: range = range(0)
    """Tracked frames that are never forgotten, since a later pass in the other direction reads them."""

    def copy(self) -> TrackedObject:
        """An object with dictionaries of its own over the same frozen records."""
        return replace(
            self,
            bank=self.bank.copy(),
            points=dict(self.points),
            masks=dict(self.masks),
            pending_conditioning=dict(self.pending_conditioning),
            pending_corrections=dict(self.pending_corrections),
            tracked=dict(self.tracked),
        )

    def pending(self, is_conditioning: bool) -> MutableMapping[int, Memory]:
        """The pending answers of one kind."""
        return self.pending_conditioning if is_conditioning else self.pending_corrections

    @property
    def prompted_frames(self) -> list[int]:
        """Frames with a prompt, ascending."""
        return sorted({*self.points, *self.masks})

    def latest(self, frame_idx: int, is_conditioning: bool) -> Memory | None:
        """The newest answer on a frame: the pending one of that kind, else the stored one."""
        return self.pending(is_conditioning).get(frame_idx) or self.bank.any(frame_idx)

    def clear_prompts(self, frame_idx: int) -> None:
        """Forget the prompts of a frame; a conditioning frame becomes an ordinary tracked one."""
        self.points.pop(frame_idx, None)
        self.masks.pop(frame_idx, None)
        self.pending_conditioning.pop(frame_idx, None)
        self.pending_corrections.pop(frame_idx, None)
        if self.bank.downgrade(frame_idx):
            self.tracked.pop(frame_idx, None)
