"""A video being worked on: its frames, its objects, what can be undone. Data only; the engine computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from samphony.errors import StateError
from samphony.media.video import FrameSource
from samphony.model.features import ImageFeatures
from samphony.predict.video.archive import Archive
from samphony.predict.video.memory_bank import MemoryBank
from samphony.predict.video.options import VideoOptions
from samphony.predict.video.policies import MemoryPolicy
from samphony.predict.video.tracked_object import ObjectId, TrackedObject


class VideoSession(Mapping[str, Any]):
    """The state of one video. Scripts that index the official state dict find its keys here, read-only.

    Attributes:
        source: the frames, decoded on demand.
        num_frames: their number, or None in a stream of unknown length.
        objects: by id, in the order in which they were added.
        features: the image features of the last frame looked at, as (frame, features).
    """

    def __init__(
        self,
        source: FrameSource,
        num_frames: int | None,
        options: VideoOptions,
        device: torch.device,
        image_size: int,
        offload_video_to_cpu: bool = False,
        offload_state_to_cpu: bool = False,
    ) -> None:
        self.source = source
        self.num_frames: int | None = num_frames
        self.height: int = source.height
        self.width: int = source.width
        self.device: torch.device = device
        self.image_size: int = image_size
        self.offload_video_to_cpu: bool = offload_video_to_cpu
        self.offload_state_to_cpu: bool = offload_state_to_cpu
        self.storage_device: torch.device = torch.device("cpu") if offload_state_to_cpu else device
        self.objects: dict[ObjectId, TrackedObject] = {}
        self.features: tuple[int, ImageFeatures] | None = None
        budget = options.ram_budget if options.history == "spill" else None
        self.archive = Archive(budget, options.spill_folder)
        self._undo_depth = options.undo_depth
        self._snapshots: list[dict[ObjectId, TrackedObject]] = []

    # Objects

    @property
    def obj_ids(self) -> list[ObjectId]:
        """Ids of the objects, in the order in which they were added."""
        return list(self.objects)

    def known(self, obj_id: ObjectId) -> TrackedObject:
        """The object of that id. Raises :class:`StateError` where there is none."""
        found = self.objects.get(obj_id)
        if found is None:
            raise StateError(f"there is no object {obj_id!r}; the objects are {self.obj_ids}")
        return found

    def new_object(self, obj_id: ObjectId, policy: MemoryPolicy) -> TrackedObject:
        """An object that is not in the session yet: it joins once its first prompt has succeeded."""
        return TrackedObject(obj_id, MemoryBank(self.archive), policy)

    def reset(self) -> None:
        """Forget all objects; frames and features stay."""
        self.objects.clear()

    # Undo

    def remember(self) -> None:
        """Take a snapshot that :meth:`undo` goes back to. Records are shared, so it costs next to nothing."""
        self._snapshots.append({obj_id: o.copy() for obj_id, o in self.objects.items()})
        del self._snapshots[: -self._undo_depth or None]

    def undo(self) -> None:
        """Bring back exactly what was before the last prompt or removal, tracked frames included.

        Raises :class:`StateError` where there is nothing to undo.
        """
        if not self._snapshots:
            raise StateError("there is no prompt to undo")
        self.objects = self._snapshots.pop()

    def forget_snapshots(self) -> None:
        """Nothing before now can be undone any more."""
        self._snapshots.clear()

    # The official state dict, read-only

    def __getitem__(self, key: str) -> Any:
        from samphony.predict.video.state_view import KEYS

        if key not in KEYS:
            raise KeyError(f"{key!r} is not a key of the official inference state; its keys are {', '.join(KEYS)}")
        return KEYS[key](self)

    def __iter__(self) -> Iterator[str]:
        from samphony.predict.video.state_view import KEYS

        return iter(KEYS)

    def __len__(self) -> int:
        from samphony.predict.video.state_view import KEYS

        return len(KEYS)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other
