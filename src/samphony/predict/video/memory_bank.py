"""What one object remembers: frozen records, one per frame, on two shelves."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, KeysView, MutableMapping, Set
from dataclasses import dataclass, replace

from torch import Tensor

from samphony.predict.video.archive import ArchivedShelf


@dataclass(frozen=True)
class Memory:
    """One frame of one object. h, w are cells of the embedding, C and Cm as in the model's configuration.

    low_res_masks: (1,1,4h,4w) logits. pointer: (1,C). object_score: (1,1) logit, positive where the object is there.
    iou: (1,), predicted. features, position: (1,Cm,h,w), None until the memory encoder ran or once they cannot matter.
    mark: what the object's policy noted about the frame; 0 for the official one.
    """

    frame_idx: int
    low_res_masks: Tensor
    pointer: Tensor
    object_score: Tensor
    iou: Tensor
    features: Tensor | None = None
    position: Tensor | None = None
    mark: float = 0.0


class MemoryBank:
    """Memories of one object.

    Args:
        tracked: the shelf of tracked frames, which may keep them out of RAM (:class:`ArchivedShelf`).
        conditioning: prompted frames in the order in which they were prompted (which is the order in which they are
            recalled); a new dictionary by default.
        marked: tracked frames that the object's policy has marked before.
    """

    def __init__(
        self,
        tracked: MutableMapping[int, Memory],
        conditioning: MutableMapping[int, Memory] | None = None,
        marked: Iterable[int] = (),
    ) -> None:
        self.conditioning: MutableMapping[int, Memory] = {} if conditioning is None else conditioning
        self._tracked = tracked
        self._marked = set(marked)

    def copy(self) -> MemoryBank:
        """A bank with shelves of its own over the same records."""
        shelf = self._tracked
        tracked = shelf.copy() if isinstance(shelf, ArchivedShelf) else dict(shelf)
        return MemoryBank(tracked, dict(self.conditioning), self._marked)

    @property
    def tracked_frames(self) -> KeysView[int]:
        """Frames with a tracked (non-conditioning) memory."""
        return self._tracked.keys()

    @property
    def marked_frames(self) -> Set[int]:
        """Tracked frames that the object's policy has marked."""
        return self._marked

    def tracked(self, frame_idx: int) -> Memory | None:
        """The tracked memory of a frame."""
        return self._tracked.get(frame_idx)

    def any(self, frame_idx: int) -> Memory | None:
        """The memory of a frame, whichever shelf it is on."""
        return self.conditioning.get(frame_idx) or self.tracked(frame_idx)

    def put_tracked(self, memory: Memory) -> None:
        """Store the memory of a tracked frame in place of an older one."""
        self._tracked[memory.frame_idx] = memory
        (self._marked.add if memory.mark else self._marked.discard)(memory.frame_idx)

    def drop_tracked(self, frame_idx: int) -> None:
        """Forget a tracked frame, if it is known."""
        if frame_idx in self._tracked:
            del self._tracked[frame_idx]
        self._marked.discard(frame_idx)

    def downgrade(self, frame_idx: int) -> bool:
        """Make a conditioning memory a tracked one; False where the frame is no conditioning frame."""
        memory = self.conditioning.pop(frame_idx, None)
        if memory is not None:
            self.put_tracked(memory)
        return memory is not None

    def keep_window(
        self,
        frame_idx: int,
        reverse: bool,
        *,
        features: int,
        pointers: int,
        marked: int = 0,
        pinned: Container[int] = (),
    ) -> None:
        """Forget what tracking onwards from ``frame_idx`` cannot read.

        Features are kept ``features`` frames back, records ``pointers`` frames back; so many of the nearest marked
        frames, and pinned frames, stay.
        """
        anchors = sorted(self._marked, key=lambda t: abs(frame_idx - t))[:marked]
        for t in list(self._tracked):
            back = t - frame_idx if reverse else frame_idx - t
            if t in pinned or t in anchors or 0 <= back <= min(features, pointers):
                continue
            memory = self._tracked[t]
            if back < 0 or back > max(pointers, features):
                self.drop_tracked(t)
            elif memory.features is not None and back > features:
                self.put_tracked(replace(memory, features=None, position=None))

    def memories(self) -> Iterator[tuple[bool, Memory]]:
        """All records as (is conditioning, memory): conditioning frames first."""
        yield from ((True, memory) for memory in self.conditioning.values())
        yield from ((False, memory) for memory in self._tracked.values())

    def clear(self) -> None:
        """Forget everything."""
        self.conditioning.clear()
        self._tracked.clear()
        self._marked.clear()
