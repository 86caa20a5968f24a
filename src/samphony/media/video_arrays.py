"""Frames that are already in memory: arrays, lists of pictures, iterators."""

from __future__ import annotations

import itertools
import tempfile
import threading
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samphony.errors import MediaError
from samphony.media.video import Frame, FrameSource


def is_array(value: Any) -> bool:
    """Whether ``value`` is a numpy array or a torch tensor (by its attributes: torch is not imported here)."""
    return isinstance(value, np.ndarray) or (hasattr(value, "detach") and hasattr(value, "cpu"))


def _to_numpy(value: Any) -> np.ndarray[Any, Any]:
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def as_frame(picture: Any, what: str) -> Frame:
    """One picture (array, tensor, PIL image or path) as contiguous uint8 (H, W, 3) RGB; ``what`` names it in errors.

    Float pictures must lie in 0..1 and are scaled to 0..255. Grey pictures get three equal channels.
    """
    if isinstance(picture, (str, Path)):
        try:
            with Image.open(picture) as image:
                return np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise MediaError(f"{what}: cannot read {picture}: {error}") from error
    if isinstance(picture, Image.Image):
        return np.asarray(picture.convert("RGB"))
    if not is_array(picture):
        raise MediaError(f"{what} is {type(picture).__name__}; a frame is an array, a PIL image or a path")
    array = _to_numpy(picture)
    if array.ndim == 3 and array.shape[-1] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or 0 in array.shape:
        raise MediaError(f"{what} has shape {array.shape}; a frame is (H, W), (H, W, 3) or (3, H, W)")
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise MediaError(f"{what} is {array.dtype} outside 0..1; give uint8 or floats in 0..1")
        array = np.rint(array * 255)
    elif array.dtype == np.bool_:
        array = array * 255
    elif array.dtype != np.uint8:
        raise MediaError(f"{what} is {array.dtype}; give uint8 or floats in 0..1")
    array = np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array[..., :3]
    return np.ascontiguousarray(array, dtype=np.uint8)


class ArraySource(FrameSource):
    """Frames of one array (T, H, W, 3) or (T, 3, H, W), uint8 or float in 0..1. The array is not copied."""

    def __init__(self, frames: Any) -> None:
        self.name = "the frame array"
        shape = tuple(frames.shape)
        if len(shape) != 4 or shape[0] == 0:
            raise MediaError(f"a video array must be (T, H, W, 3) or (T, 3, H, W) with T ≥ 1, got shape {shape}")
        self._frames = frames
        self.height, self.width = self.read(0).shape[:2]

    def __len__(self) -> int:
        return int(self._frames.shape[0])

    def read(self, index: int) -> Frame:
        return as_frame(self._frames[index], f"frame {index} of the array")


class PictureList(FrameSource):
    """A list of pictures: arrays, PIL images or paths, each read when asked for."""

    def __init__(self, pictures: Sequence[Any]) -> None:
        self.name = "the list of frames"
        if not pictures:
            raise MediaError("the list of frames is empty; a video needs at least one frame")
        self._pictures = pictures
        self.height, self.width = as_frame(pictures[0], "frame 0 of the list").shape[:2]

    def __len__(self) -> int:
        return len(self._pictures)

    def read(self, index: int) -> Frame:
        return self.check_size(as_frame(self._pictures[index], f"frame {index} of the list"), index)


class SpooledSource(FrameSource):
    """The frames of an iterator, read once into a temporary file so that any of them can be read again."""

    def __init__(self, frames: Iterable[Any]) -> None:
        self.name = "the iterator of frames"
        iterator = iter(frames)
        first = next(iterator, None)
        if first is None:
            raise MediaError("the iterator gave no frame; a video needs at least one")
        self._lock = threading.Lock()
        self._file = tempfile.TemporaryFile(prefix="samphony-frames-")  # noqa: SIM115 - lives as long as the source
        weakref.finalize(self, self._file.close)
        self._count = 0
        self.height, self.width = as_frame(first, "frame 0 of the iterator").shape[:2]
        try:
            for index, picture in enumerate(itertools.chain([first], iterator)):
                frame = as_frame(picture, f"frame {index} of the iterator")
                self._file.write(self.check_size(frame, index).tobytes())
                self._count += 1
        except OSError:
            self._file.close()
            raise

    def __len__(self) -> int:
        return self._count

    def read(self, index: int) -> Frame:
        size = self.height * self.width * 3
        with self._lock:
            self._file.seek(index * size)
            data = self._file.read(size)
        return np.frombuffer(data, np.uint8).reshape(self.height, self.width, 3)

    def close(self) -> None:
        self._file.close()
