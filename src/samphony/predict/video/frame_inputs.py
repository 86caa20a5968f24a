"""The frames as the network takes them, as scripts index them in the official state: decoded when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from samphony.predict.video.preprocess import model_input

if TYPE_CHECKING:
    from samphony.predict.video.session import VideoSession


class FrameInputs:
    """The normalised frames of a session, (3,S,S) each, decoded when indexed.

    Frames can be put in their places and appended, as scripts for live video do; ``tensor()``, and torch functions such
    as ``torch.cat``, bring all of them into memory.
    """

    def __init__(self, session: VideoSession) -> None:
        self._session = session
        self._count = len(session.source)
        self._written: dict[int, Any] = {}

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(self._count))

    def __getitem__(self, index: int | slice) -> Tensor:
        if isinstance(index, slice):
            return torch.stack([self[i] for i in range(*index.indices(self._count))])
        place = self._place(index)
        session = self._session
        frame = (
            self._written[place] if place in self._written else model_input(session.source[place], session.image_size)
        )
        return frame if session.offload_video_to_cpu else frame.to(session.device)

    def __setitem__(self, index: int, frame: Tensor | None) -> None:
        self._written[self._place(index)] = frame
        self._session.images = self

    def append(self, frame: Tensor) -> None:
        """Add a normalised frame (3,S,S) behind the last one; ``num_frames`` of the state is set separately."""
        self._written[self._count] = frame
        self._count += 1
        self._session.images = self

    def _place(self, index: int) -> int:
        if not -self._count <= index < self._count:
            raise IndexError(f"frame {index} is outside the video, which has {self._count} frames")
        return index % self._count

    # As the tensor (T,3,S,S) that scripts expect

    def tensor(self) -> Tensor:
        """All frames in memory, (T,3,S,S)."""
        return self[:]

    @property
    def shape(self) -> torch.Size:
        """(T, 3, S, S)."""
        return torch.Size((self._count, 3, self._session.image_size, self._session.image_size))

    @property
    def dtype(self) -> torch.dtype:
        """Frames are float32."""
        return torch.float32

    @property
    def device(self) -> torch.device:
        """Where frames are put when they are indexed."""
        return torch.device("cpu") if self._session.offload_video_to_cpu else self._session.device

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return func(*(_tensors(a) for a in args), **{name: _tensors(a) for name, a in (kwargs or {}).items()})


def _tensors(value: Any) -> Any:
    if isinstance(value, FrameInputs):
        return value.tensor()
    if type(value) in (list, tuple):
        return type(value)(_tensors(v) for v in value)
    return value
