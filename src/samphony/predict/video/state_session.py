"""A session over an official state dict that a script has made by hand. The dict stays the owner of everything."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import torch
from torch import Tensor

from samphony.errors import StateError
from samphony.media.video import Frame, FrameSource
from samphony.predict.video.official_objects import OfficialObjects
from samphony.predict.video.options import VideoOptions
from samphony.predict.video.policies import MemoryPolicy
from samphony.predict.video.session import VideoSession

_NEEDED = ("images", "num_frames", "video_height", "video_width")
_OPTIONS = VideoOptions(history="keep", undo_depth=0)


class _GivenFrames(FrameSource):
    """Stands for the video of a state that holds only normalised frames."""

    name = "the given inference state"

    def __init__(self, state: MutableMapping[str, Any]) -> None:
        self.height, self.width = int(state["video_height"]), int(state["video_width"])
        self._count = int(state["num_frames"])

    def __len__(self) -> int:
        return self._count

    def read(self, index: int) -> Frame:
        raise StateError(f"{self.name} holds normalised frames only; frame {index} cannot be shown as a picture")


class StateSession(VideoSession):
    """Made for one call; nothing is kept that the dict does not hold."""

    def __init__(
        self, state: MutableMapping[str, Any], device: torch.device, image_size: int, policy: MemoryPolicy
    ) -> None:
        lacking = [key for key in _NEEDED if state.get(key) is None and key != "images"]
        if lacking or "images" not in state:
            raise StateError(
                f"the inference state has no {', '.join(lacking) or 'images'}; make it with init_state, or give it the "
                f"official keys, of which {', '.join(_NEEDED)} are needed"
            )
        device = torch.device(state.setdefault("device", device))
        super().__init__(_GivenFrames(state), int(state["num_frames"]), _OPTIONS, device, image_size)
        self.storage_device = torch.device(state.setdefault("storage_device", device))
        self.offload_video_to_cpu = bool(state.get("offload_video_to_cpu"))
        self.images = state["images"]
        self.features = state.setdefault("cached_features", {})
        self.objects = OfficialObjects(state, policy)
        self.state = self.official = state
        state.setdefault("obj_ids", list(self.objects))
        state.setdefault("constants", {})

    def keep_features(self, frame_idx: int, picture: Tensor, features: Any) -> None:
        super().keep_features(frame_idx, picture, features)
        self.state["cached_features"] = self.features

    def remember(self) -> None:
        """A plain dict has no memory of what it was; there is nothing to undo."""


def session_of(state: Any, device: torch.device, image_size: int, policy: MemoryPolicy) -> VideoSession:
    """The session that an ``inference_state`` is or stands for. Raises :class:`StateError` for anything else."""
    if isinstance(state, VideoSession):
        return state
    if isinstance(state, MutableMapping):
        return StateSession(state, device, image_size, policy)
    raise StateError(f"inference_state must be what init_state gives, got {type(state).__name__}")
