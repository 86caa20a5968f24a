"""What one object remembers: frozen records, one per frame, on two shelves."""

from __future__ import annotations

from collections.abc import Container, Iterator, KeysView, Set
from dataclasses import dataclass, replace

from torch import Tensor

from samphony.predict.video.archive import Archive, Shelved


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

    ``conditioning`` holds prompted frames in the order in which they were prompted (which is the order in which they
    are recalled); the tracked frames stand on an :class:`Archive`, which may move them out of RAM.
    """

    def __init__(self, archive: Archive) -> None:
        self.conditioning: dict[int, Memory] = {}
        self._archive = archive
        self._tracked: dict[int, Shelved] = {}
        self._marked: set[int] = set()

    def copy(self) -> MemoryBank:
        """A bank with shelves of its own over the same records."""
        bank = MemoryBank(self._archive)
        bank.conditioning = dict(self.conditioning)
        bank._tracked = dict(self._tracked)
        bank._marked = set(self._marked)
        return bank

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
        shelved = self._tracked.get(frame_idx)
        return None if shelved is None else shelved.get()

    def any(self, frame_idx: int) -> Memory | None:
        """The memory of a frame, whichever shelf it is on."""
        return self.conditioning.get(frame_idx) or self.tracked(frame_idx)

    def put_tracked(self, memory: Memory) -> None:
        """Store the memory of a tracked frame in place of an older one."""
        self._tracked[memory.frame_idx] = self._archive.shelve(memory)
        (self._marked.add if memory.mark else self._marked.discard)(memory.frame_idx)

    def drop_tracked(self, frame_idx: int) -> None:
        """Forget a tracked frame, if it is known."""
        self._tracked.pop(frame_idx, None)
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
        for t, shelved in list(self._tracked.items()):
            back = t - frame_idx if reverse else frame_idx - t
            if t in pinned or t in anchors or 0 <= back <= min(features, pointers):
                continue
            memory = shelved.get()
            if back < 0 or back > max(pointers, features):
                self.drop_tracked(t)
            elif memory.features is not None and back > features:
                self.put_tracked(replace(memory, features=None, position=None))

    def memories(self) -> Iterator[tuple[bool, Memory]]:
        """All records as (is conditioning, memory): conditioning frames first."""
        yield from ((True, memory) for memory in self.conditioning.values())
        yield from ((False, shelved.get()) for shelved in self._tracked.values())

    def clear(self) -> None:
        """Forget everything."""
        self.conditioning.clear()
        self._tracked.clear()
        self._marked.clear()
