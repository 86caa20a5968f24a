"""The official inference state, as scripts index it: built when asked for, read-only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from torch import Tensor

from samphony.predict.video.memory_bank import Memory, MemoryBank
from samphony.predict.video.preprocess import model_input
from samphony.predict.video.tracked_object import TrackedObject

if TYPE_CHECKING:
    from samphony.predict.video.session import VideoSession


class FrameInputs(Sequence[Tensor]):
    """The normalised frames (3,S,S), each decoded when it is indexed."""

    def __init__(self, session: VideoSession) -> None:
        self._session = session

    def __len__(self) -> int:
        return len(self._session.source)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        frame = model_input(self._session.source[index], self._session.image_size)
        return frame if self._session.offload_video_to_cpu else frame.to(self._session.device)


class Records(Mapping[int, dict[str, Any]]):
    """Memories of one shelf by frame, each as the official record."""

    def __init__(self, frames: Sequence[int], get: Callable[[int], Memory | None]) -> None:
        self._frames = dict.fromkeys(frames)
        self._get = get

    def __getitem__(self, frame_idx: int) -> dict[str, Any]:
        memory = self._get(frame_idx) if frame_idx in self._frames else None
        if memory is None:
            raise KeyError(frame_idx)
        return {
            "maskmem_features": memory.features,
            "maskmem_pos_enc": None if memory.position is None else [memory.position],
            "pred_masks": memory.low_res_masks,
            "obj_ptr": memory.pointer,
            "object_score_logits": memory.object_score,
        }

    def __iter__(self) -> Iterator[int]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)


def _outputs(bank: MemoryBank) -> dict[str, Records]:
    return {
        "cond_frame_outputs": Records(list(bank.conditioning), bank.conditioning.get),
        "non_cond_frame_outputs": Records(list(bank.tracked_frames), bank.tracked),
    }


def _pending(o: TrackedObject) -> dict[str, Records]:
    return {
        "cond_frame_outputs": Records(list(o.pending_conditioning), o.pending_conditioning.get),
        "non_cond_frame_outputs": Records(list(o.pending_corrections), o.pending_corrections.get),
    }


def _each(session: VideoSession, view: Callable[[TrackedObject], Any]) -> dict[int, Any]:
    """A value for each object by its place, as the official state keeps them."""
    return {place: view(o) for place, o in enumerate(session.objects.values())}


def _constants(session: VideoSession) -> dict[str, Any]:
    for o in session.objects.values():
        for memory in o.bank.conditioning.values():
            if memory.position is not None:
                return {"maskmem_pos_enc": [memory.position]}
    return {}


KEYS: dict[str, Callable[[VideoSession], Any]] = {
    "images": FrameInputs,
    "num_frames": lambda s: s.num_frames,
    "offload_video_to_cpu": lambda s: s.offload_video_to_cpu,
    "offload_state_to_cpu": lambda s: s.offload_state_to_cpu,
    "video_height": lambda s: s.height,
    "video_width": lambda s: s.width,
    "device": lambda s: s.device,
    "storage_device": lambda s: s.storage_device,
    "point_inputs_per_obj": lambda s: _each(s, lambda o: {t: p.inputs for t, p in o.points.items()}),
    "mask_inputs_per_obj": lambda s: _each(s, lambda o: dict(o.masks)),
    "cached_features": lambda s: {} if s.features is None else {s.features[0]: s.features[1]},
    "constants": _constants,
    "obj_id_to_idx": lambda s: {obj_id: place for place, obj_id in enumerate(s.objects)},
    "obj_idx_to_id": lambda s: dict(enumerate(s.objects)),
    "obj_ids": lambda s: s.obj_ids,
    "output_dict_per_obj": lambda s: _each(s, lambda o: _outputs(o.bank)),
    "temp_output_dict_per_obj": lambda s: _each(s, _pending),
    "frames_tracked_per_obj": lambda s: _each(s, lambda o: {t: {"reverse": r} for t, r in o.tracked.items()}),
}
"""The documented keys of the official state."""
