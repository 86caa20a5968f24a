"""Where tracked memories stand: in RAM up to a budget, then in a memory-mapped temporary file.

Records are immutable and can be shared (by a bank and by the snapshots that undo needs). Their place in the file is
free again when the last owner lets go of them.
"""

from __future__ import annotations

import tempfile
import threading
import weakref
from collections import deque
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from samphony.errors import MediaError

if TYPE_CHECKING:
    from samphony.predict.video.memory_bank import Memory

_PARTS = ("low_res_masks", "pointer", "object_score", "iou", "features")
_RECORD_BYTES = 2560
"""What a record takes in RAM beside its numbers, for five tensors and their places."""


class Shelved:
    """One memory on an archive's shelf; :meth:`get` brings it back from wherever it is."""

    __slots__ = ("__weakref__", "_archive", "_layout", "_memory", "size", "slot")

    def __init__(self, archive: Archive, memory: Memory) -> None:
        self._archive = archive
        self._memory: Memory | None = memory
        self.slot: int | None = None
        self._layout: tuple[Any, ...] = ()
        self.size = sum(x.nbytes for x in map(memory.__getattribute__, _PARTS) if x is not None)

    @property
    def in_ram(self) -> int:
        """Bytes that the memory takes, or took, in RAM."""
        return self.size + _RECORD_BYTES

    def get(self) -> Memory:
        """The memory, read back if it was spilled."""
        if self._memory is not None:
            return self._memory
        assert self.slot is not None
        return _unpack(self._archive.read(self.slot, self.size), self._layout)

    def spill(self) -> None:
        """Write the memory to the archive's file and let go of it."""
        assert self._memory is not None
        data, (*rest, shapes) = _pack(self._memory)
        self.slot = self._archive.write(data)
        self._layout, self._memory = (*rest, self._archive.shared(shapes)), None

    def __del__(self) -> None:
        self._archive.let_go(self)


class Archive:
    """Holds at most ``budget`` bytes of memories in RAM; the oldest go to a temporary file in ``folder``."""

    def __init__(self, budget: int | None, folder: Path | None = None) -> None:
        self.budget = budget
        self.folder = folder
        self.resident = 0
        """Bytes of memories in RAM."""
        self.spilled = 0
        """Bytes of memories in the file."""
        self._queue: deque[weakref.ref[Shelved]] = deque()
        self._file: Any = None
        self._end = 0
        self._free: dict[int, list[int]] = {}
        self._shapes: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        self._lock = threading.RLock()

    def shared(self, shapes: tuple[Any, ...]) -> tuple[Any, ...]:
        """One tuple for all records of equal shapes: hundreds of thousands of them may be spilled."""
        return self._shapes.setdefault(shapes, shapes)

    def shelve(self, memory: Memory) -> Shelved:
        """Put a memory on the shelf and, where that exceeds the budget, spill the oldest ones."""
        shelved = Shelved(self, memory)
        with self._lock:
            self.resident += shelved.in_ram
            if self.budget is not None:
                self._queue.append(weakref.ref(shelved))
                while self.resident > self.budget and self._queue:
                    self._spill_oldest()
        return shelved

    def _spill_oldest(self) -> None:
        oldest = self._queue[0]()
        if oldest is not None:
            oldest.spill()
            self.resident -= oldest.in_ram
            self.spilled += oldest.size
        self._queue.popleft()

    def write(self, data: np.ndarray[Any, np.dtype[np.uint8]]) -> int:
        """Store bytes and return where. Raises :class:`MediaError` when the disk is full; nothing is lost then."""
        with self._lock:
            places = self._free.get(data.size)
            place = places.pop() if places else self._end
            try:
                if self._file is None:
                    self._file = tempfile.TemporaryFile(  # noqa: SIM115 - lives as long as the session
                        prefix="samphony-memories-", dir=self.folder, buffering=0
                    )
                    weakref.finalize(self, self._file.close)
                self._file.seek(place)
                view = memoryview(data.tobytes())
                while view:
                    view = view[self._file.write(view) :]
            except OSError as error:
                raise MediaError(
                    f"memories cannot be spilled to {self.folder or tempfile.gettempdir()}: {error}; what was tracked "
                    "is kept. Free some space, or set VideoOptions(spill_folder=…) or VideoOptions(history='window')"
                ) from error
            self._end = max(self._end, place + data.size)
            return place

    def read(self, place: int, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Bytes of one record, copied out of the mapped file."""
        with self._lock:
            return np.array(np.memmap(self._file, np.uint8, mode="r", offset=place, shape=(size,)))

    def let_go(self, shelved: Shelved) -> None:
        """A record has no owner any more."""
        with self._lock:
            if shelved.slot is None:
                self.resident -= shelved.in_ram
            else:
                self.spilled -= shelved.size
                self._free.setdefault(shelved.size, []).append(shelved.slot)


class ArchivedShelf(MutableMapping[int, "Memory"]):
    """Memories by frame on an :class:`Archive`. Asking which frames there are reads nothing back."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._shelved: dict[int, Shelved] = {}

    def copy(self) -> ArchivedShelf:
        """A shelf of its own over the same records."""
        shelf = ArchivedShelf(self._archive)
        shelf._shelved = dict(self._shelved)
        return shelf

    def __getitem__(self, frame_idx: int) -> Memory:
        return self._shelved[frame_idx].get()

    def __setitem__(self, frame_idx: int, memory: Memory) -> None:
        self._shelved[frame_idx] = self._archive.shelve(memory)

    def __delitem__(self, frame_idx: int) -> None:
        del self._shelved[frame_idx]

    def __contains__(self, frame_idx: object) -> bool:
        return frame_idx in self._shelved

    def __iter__(self) -> Iterator[int]:
        return iter(self._shelved)

    def __len__(self) -> int:
        return len(self._shelved)

    def clear(self) -> None:
        """Forget everything, without reading it back."""
        self._shelved.clear()


def _pack(memory: Memory) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], tuple[Any, ...]]:
    parts: list[np.ndarray[Any, np.dtype[np.uint8]]] = []
    shapes: list[Any] = []
    for name in _PARTS:
        x: Tensor | None = getattr(memory, name)
        if x is None:
            shapes.append(None)
            continue
        shapes.append((x.dtype, tuple(x.shape), x.device))
        parts.append(x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return np.concatenate(parts), (memory.frame_idx, memory.position, memory.mark, tuple(shapes))


def _unpack(data: np.ndarray[Any, np.dtype[np.uint8]], layout: tuple[Any, ...]) -> Memory:
    from samphony.predict.video.memory_bank import Memory

    frame_idx, position, mark, shapes = layout
    values: dict[str, Tensor | None] = {}
    at = 0
    for name, shape in zip(_PARTS, shapes, strict=True):
        if shape is None:
            values[name] = None
            continue
        dtype, size, device = shape
        count = dtype.itemsize * int(np.prod(size))
        values[name] = torch.from_numpy(data[at : at + count].copy()).view(dtype).reshape(size).to(device)
        at += count
    return Memory(frame_idx=frame_idx, position=position, mark=mark, **values)  # type: ignore[arg-type]
