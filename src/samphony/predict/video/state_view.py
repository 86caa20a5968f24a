"""The official inference state, as scripts index and change a session.

Plain facts are read and set on the session itself. Asking for what belongs to objects (``output_dict_per_obj`` and the
like) hands the objects over to an official dict: from then on it owns them, whatever a script does to it takes effect,
and, as officially, everything stays in memory.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

import torch

from samphony.predict.video.frame_inputs import FrameInputs
from samphony.predict.video.official_objects import PER_OBJECT, OfficialObjects

if TYPE_CHECKING:
    from samphony.predict.video.session import VideoSession

_ATTRIBUTES = {
    "num_frames": "num_frames",
    "offload_video_to_cpu": "offload_video_to_cpu",
    "offload_state_to_cpu": "offload_state_to_cpu",
    "video_height": "height",
    "video_width": "width",
    "device": "device",
    "storage_device": "storage_device",
    "cached_features": "features",
}
_OF_OBJECTS = ("constants", "obj_id_to_idx", "obj_idx_to_id", "obj_ids", *PER_OBJECT)

KEYS = ("images", *_ATTRIBUTES, *_OF_OBJECTS)
"""The keys of the official state."""


def read(session: VideoSession, key: str) -> Any:
    """The value of a key of the official state, or of a script's own."""
    if key == "images":
        return FrameInputs(session) if session.images is None else session.images
    if key in _ATTRIBUTES:
        return getattr(session, _ATTRIBUTES[key])
    if key == "obj_ids" and session.official is None:
        return session.obj_ids
    if key in _OF_OBJECTS:
        return hand_over(session)[key]
    if key in session.extras:
        return session.extras[key]
    raise KeyError(f"{key!r} is not a key of the official inference state; its keys are {', '.join(KEYS)}")


def write(session: VideoSession, key: str, value: Any) -> None:
    """Set a key of the official state, or one of a script's own."""
    if key == "images":
        session.images = value
    elif key in _ATTRIBUTES:
        is_device = key in ("device", "storage_device")
        setattr(session, _ATTRIBUTES[key], torch.device(value) if is_device else value)
    elif key in _OF_OBJECTS:
        hand_over(session)[key] = value
    else:
        session.extras[key] = value


def hand_over(session: VideoSession) -> MutableMapping[str, Any]:
    """The official dict of a session's objects, which owns them from now on."""
    if session.official is None:
        official: dict[str, Any] = {"obj_ids": [], "constants": _constants(session)}
        objects = OfficialObjects(official)
        objects.update(session.objects)
        session.objects, session.official = objects, official
    return session.official


def _constants(session: VideoSession) -> dict[str, Any]:
    for o in session.objects.values():
        for memory in o.bank.conditioning.values():
            if memory.position is not None:
                return {"maskmem_pos_enc": [memory.position]}
    return {}
