"""A video being worked on: its frames, its objects, what can be undone. Data only; the engine computes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, MutableMapping
from typing import Any

import torch
from torch import Tensor

from samphony.errors import StateError
from samphony.media.video import FrameSource
from samphony.predict.video.archive import Archive, ArchivedShelf
from samphony.predict.video.memory_bank import MemoryBank
from samphony.predict.video.options import VideoOptions
from samphony.predict.video.policies import MemoryPolicy
from samphony.predict.video.preprocess import model_input
from samphony.predict.video.tracked_object import ObjectId, TrackedObject


class VideoSession(MutableMapping[str, Any]):
    """The state of one video. Scripts that use the official state dict find its keys here (see ``state_view.py``).

    Attributes:
        source: the frames, decoded on demand.
        images: normalised frames that a script has put in the place of the decoded ones, else None.
        num_frames: their number, or None in a stream of unknown length.
        objects: by id, in the order in which they were added.
        features: image features by frame, as (normalised frame (1,3,S,S), features); those of the last frame looked at.
        official: the official state of the objects, once a script has asked for it; then it owns them.
        extras: what scripts have put into the state under keys of their own.
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
        self.images: Any = None
        self.num_frames: int | None = num_frames
        self.height: int = source.height
        self.width: int = source.width
        self.device: torch.device = device
        self.image_size: int = image_size
        self.offload_video_to_cpu: bool = offload_video_to_cpu
        self.offload_state_to_cpu: bool = offload_state_to_cpu
        self.storage_device: torch.device = torch.device("cpu") if offload_state_to_cpu else device
        self.objects: MutableMapping[ObjectId, TrackedObject] = {}
        self.features: dict[int, tuple[Any, Any]] = {}
        self.official: MutableMapping[str, Any] | None = None
        self.extras: dict[str, Any] = {}
        budget = options.ram_budget if options.history == "spill" else None
        self.archive = Archive(budget, options.spill_folder)
        self._undo_depth = options.undo_depth
        self._snapshots: list[dict[ObjectId, TrackedObject]] = []

    # Frames

    @property
    def length(self) -> int:
        """Frames that can be prompted and tracked."""
        return len(self.source) if self.num_frames is None else self.num_frames

    def picture(self, frame_idx: int) -> Tensor:
        """A frame as the network takes it, (3,S,S)."""
        if self.images is None:
            return model_input(self.source.read(frame_idx), self.image_size)
        return self.images[frame_idx]

    def keep_features(self, frame_idx: int, picture: Tensor, features: Any) -> None:
        """Keep the features of a frame in the place of those of other frames."""
        self.features = {frame_idx: (picture, features)}

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
        return TrackedObject(obj_id, MemoryBank(ArchivedShelf(self.archive)), policy)

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
        self.objects.clear()
        self.objects.update(self._snapshots.pop())

    def forget_snapshots(self) -> None:
        """Nothing before now can be undone any more."""
        self._snapshots.clear()

    def __deepcopy__(self, memo: dict[int, Any]) -> VideoSession:
        """A session that goes its own way from here; frames and frozen records are shared."""
        other = copy.copy(self)
        other.objects = {obj_id: o.copy() for obj_id, o in self.objects.items()}
        other.features = dict(self.features)
        other.official = None
        other.extras = copy.deepcopy(self.extras, memo)
        other._snapshots = []
        return other

    # The official state dict

    def __getitem__(self, key: str) -> Any:
        from samphony.predict.video.state_view import read

        return read(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        from samphony.predict.video.state_view import write

        write(self, key, value)

    def __delitem__(self, key: str) -> None:
        if key in self.extras:
            del self.extras[key]
        elif key in self:
            raise StateError(f"{key!r} of the inference state cannot be removed; replace its value instead")
        else:
            raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        from samphony.predict.video.state_view import KEYS

        return iter((*KEYS, *self.extras))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, key: object) -> bool:
        return any(key == known for known in self)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other
