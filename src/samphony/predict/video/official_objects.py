"""Objects that live in an official state dict: our typed records, read from and written to what scripts see.

The dict owns everything. A script that pops old frames, moves a record to the conditioning frames or puts one there
itself changes what is recalled next, as officially.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from samphony.errors import StateError
from samphony.predict.video.memory_bank import Memory, MemoryBank
from samphony.predict.video.policies import OFFICIAL, MemoryPolicy
from samphony.predict.video.tracked_object import ObjectId, PointPrompt, TrackedObject

T = TypeVar("T")
Official = MutableMapping[str, Any]

POINTS, MASKS, TRACKED = "point_inputs_per_obj", "mask_inputs_per_obj", "frames_tracked_per_obj"
OUTPUTS, PENDING = "output_dict_per_obj", "temp_output_dict_per_obj"
CONDITIONING, OTHERS = "cond_frame_outputs", "non_cond_frame_outputs"
PER_OBJECT = (POINTS, MASKS, OUTPUTS, PENDING, TRACKED)


class Shelf(MutableMapping[int, T], Generic[T]):
    """One of the official dictionaries by frame, with typed values. ``place`` finds it anew on every access."""

    def __init__(
        self, place: Callable[[], dict[int, Any]], decode: Callable[[int, Any], T], encode: Callable[[T], Any]
    ) -> None:
        self._place, self._decode, self._encode = place, decode, encode

    def __getitem__(self, frame_idx: int) -> T:
        return self._decode(frame_idx, self._place()[frame_idx])

    def __setitem__(self, frame_idx: int, value: T) -> None:
        self._place()[frame_idx] = self._encode(value)

    def __delitem__(self, frame_idx: int) -> None:
        del self._place()[frame_idx]

    def __contains__(self, frame_idx: object) -> bool:
        return frame_idx in self._place()

    def __iter__(self) -> Iterator[int]:
        return iter(self._place())

    def __len__(self) -> int:
        return len(self._place())


def memory_of(frame_idx: int, record: Mapping[str, Any]) -> Memory:
    """The memory that an official record holds. Raises :class:`StateError` for one that lacks a part."""
    try:
        score: Tensor = record["object_score_logits"]
        position = record["maskmem_pos_enc"]
        return Memory(
            frame_idx,
            record["pred_masks"],
            record["obj_ptr"],
            score,
            record["iou"] if "iou" in record else torch.full((score.shape[0],), torch.nan, device=score.device),
            record["maskmem_features"],
            position[-1] if isinstance(position, (list, tuple)) else position,
            record.get("mark", 0.0),
        )
    except KeyError as error:
        raise StateError(
            f"the record of frame {frame_idx} has no {error}: a record holds maskmem_features, maskmem_pos_enc, "
            "pred_masks, obj_ptr and object_score_logits"
        ) from error


def record_of(memory: Memory) -> dict[str, Any]:
    """A memory as the official record; ``iou`` and ``mark`` beside its keys, so that nothing is lost."""
    return {
        "maskmem_features": memory.features,
        "maskmem_pos_enc": None if memory.position is None else [memory.position],
        "pred_masks": memory.low_res_masks,
        "obj_ptr": memory.pointer,
        "object_score_logits": memory.object_score,
        "iou": memory.iou,
        "mark": memory.mark,
    }


def memory_shelf(place: Callable[[], dict[int, Any]]) -> Shelf[Memory]:
    """Official records by frame, as memories."""
    return Shelf(place, memory_of, record_of)


def bank_of(output_dict: Mapping[str, dict[int, Any]]) -> MemoryBank:
    """The memory bank that official outputs of one object (or of a batch of them) make."""
    return MemoryBank(
        memory_shelf(lambda: output_dict[OTHERS]),
        memory_shelf(lambda: output_dict[CONDITIONING]),
        (t for t, record in output_dict[OTHERS].items() if record.get("mark")),
    )


class OfficialObjects(MutableMapping[ObjectId, TrackedObject]):
    """The objects of an official state dict, by id. What the dict lacks is added to it empty."""

    def __init__(self, state: Official, policy: MemoryPolicy = OFFICIAL) -> None:
        self._state, self._policy = state, policy
        self._made: dict[ObjectId, TrackedObject] = {}
        for key in ("obj_id_to_idx", "obj_idx_to_id", *PER_OBJECT):
            state.setdefault(key, {})

    @property
    def _places(self) -> dict[ObjectId, int]:
        return self._state["obj_id_to_idx"]

    def __getitem__(self, obj_id: ObjectId) -> TrackedObject:
        if obj_id not in self._places:
            self._made.pop(obj_id, None)
            raise KeyError(obj_id)
        if obj_id not in self._made:
            self._made[obj_id] = self._live(TrackedObject(obj_id, MemoryBank({}), self._policy))
        return self._made[obj_id]

    def _live(self, o: TrackedObject) -> TrackedObject:
        """The same object, looking at the dict from now on."""

        def find(key: str, kind: str | None = None) -> Callable[[], dict[int, Any]]:
            def place() -> dict[int, Any]:
                found = self._state[key].setdefault(self._places[o.obj_id], {})
                return found if kind is None else found.setdefault(kind, {})

            return place

        others = find(OUTPUTS, OTHERS)
        marked = (t for t, record in others().items() if record.get("mark"))
        o.bank = MemoryBank(memory_shelf(others), memory_shelf(find(OUTPUTS, CONDITIONING)), marked)
        o.points = Shelf(find(POINTS), _prompt_of, lambda prompt: prompt.inputs)
        o.masks = Shelf(find(MASKS), lambda t, mask: mask, lambda mask: mask)
        o.pending_conditioning = memory_shelf(find(PENDING, CONDITIONING))
        o.pending_corrections = memory_shelf(find(PENDING, OTHERS))
        o.tracked = Shelf(find(TRACKED), lambda t, passed: passed["reverse"], lambda reverse: {"reverse": reverse})
        return o

    def __setitem__(self, obj_id: ObjectId, o: TrackedObject) -> None:
        if self._made.get(obj_id) is o:
            return
        state = self._state
        place = self._places.setdefault(obj_id, len(self._places))
        state["obj_idx_to_id"][place] = obj_id
        state["obj_ids"] = list(self._places)
        state[POINTS][place] = {t: prompt.inputs for t, prompt in o.points.items()}
        state[MASKS][place] = dict(o.masks)
        state[TRACKED][place] = {t: {"reverse": reverse} for t, reverse in o.tracked.items()}
        outputs: dict[str, dict[int, Any]] = {CONDITIONING: {}, OTHERS: {}}
        for is_conditioning, memory in o.bank.memories():
            outputs[CONDITIONING if is_conditioning else OTHERS][memory.frame_idx] = record_of(memory)
        state[OUTPUTS][place] = outputs
        pending = {CONDITIONING: o.pending_conditioning, OTHERS: o.pending_corrections}
        state[PENDING][place] = {kind: {t: record_of(m) for t, m in of.items()} for kind, of in pending.items()}
        self._made[obj_id] = self._live(o)

    def __delitem__(self, obj_id: ObjectId) -> None:
        gone, count = self._places[obj_id], len(self._places)
        ids = [known for known in self._places if known != obj_id]
        for key in PER_OBJECT:
            rest = [self._state[key].get(place, {}) for place in range(count) if place != gone]
            self._state[key].clear()
            self._state[key].update(enumerate(rest))
        self._name(ids)

    def clear(self) -> None:
        """Forget all objects."""
        for key in PER_OBJECT:
            self._state[key].clear()
        self._name([])

    def _name(self, ids: list[ObjectId]) -> None:
        self._places.clear()
        self._places.update({obj_id: place for place, obj_id in enumerate(ids)})
        self._state["obj_idx_to_id"].clear()
        self._state["obj_idx_to_id"].update(enumerate(ids))
        self._state["obj_ids"] = ids
        self._made = {obj_id: o for obj_id, o in self._made.items() if obj_id in self._places}

    def __iter__(self) -> Iterator[ObjectId]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _prompt_of(frame_idx: int, inputs: Mapping[str, Tensor]) -> PointPrompt:
    return PointPrompt(inputs["point_coords"], inputs["point_labels"])
