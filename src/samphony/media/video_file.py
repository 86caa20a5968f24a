"""Video files through PyAV: random access by seeking to the key frame before and decoding forward.

Opening reads the packet headers once (no decoding) to know every frame's time, so that frame numbers are exact for
variable frame rates and open groups of pictures. Containers without time stamps are counted by decoding.
"""

from __future__ import annotations

import io
import platform
import threading
from collections import OrderedDict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np

from samphony.errors import MediaError
from samphony.media.video import Frame, FrameSource

_CACHE_BYTES = 192 * 1024 * 1024
"""Decoded frames kept for walking backwards through a group of pictures."""


class VideoFile(FrameSource):
    """A video file, URL or bytes that FFmpeg reads. Rotation stored in the file is applied."""

    def __init__(self, source: Path | str | bytes) -> None:
        self.name = "the video bytes" if isinstance(source, bytes) else str(source)
        self._lock = threading.Lock()
        self._container = _open(io.BytesIO(source) if isinstance(source, bytes) else str(source), self.name)
        try:
            if not self._container.streams.video:
                raise MediaError(f"{self.name} holds no video stream")
            self._stream: Any = self._container.streams.video[0]
            self._stream.thread_type = "AUTO"
            self.rate = self._stream.average_rate or self._stream.guessed_rate
            self.time_base: Fraction = self._stream.time_base or Fraction(1, 25)
            self._times = self._index_packets() or self._index_by_decoding()
            if not self._times:
                raise MediaError(f"{self.name} holds no frame that can be decoded; is the file empty or truncated?")
            self._number = {pts: index for index, pts in enumerate(self._times)}
            self._cache: OrderedDict[int, Any] = OrderedDict()
            self._decoder: Iterator[Any] | None = None
            self._next = -1  # the frame that the decoder gives next, if all is well
            first = self.read(0)
        except BaseException:
            self._container.close()
            raise
        self.height, self.width = first.shape[:2]
        self._capacity = max(4, _CACHE_BYTES // (self.height * self.width * 2))

    def __len__(self) -> int:
        return len(self._times)

    def time(self, index: int) -> float:
        return float((self._times[index] - self._times[0]) * self.time_base)

    def close(self) -> None:
        with self._lock:
            self._decoder = None
            self._container.close()

    def read(self, index: int) -> Frame:
        with self._lock:
            frame = self._cache.get(index)
            if frame is None:
                frame = self._decode(index)
            picture = _rgb(frame)
        return self.check_size(picture, index) if hasattr(self, "height") else picture

    # Index

    def _index_packets(self) -> list[int]:
        """Presentation times of all frames in order, from packet headers; empty where the container has none."""
        times: list[int] = []
        first_key: int | None = None
        try:
            for packet in self._container.demux(self._stream):
                if packet.size == 0 or packet.is_discard:
                    continue
                if packet.pts is None:
                    return []
                if packet.is_keyframe and first_key is None:
                    first_key = packet.pts
                times.append(packet.pts)
        except av.error.FFmpegError:
            pass  # a truncated file: what came before the damage can be read
        # Frames shown before the first key frame refer to frames that are not in the file.
        return sorted({pts for pts in times if first_key is not None and pts >= first_key})

    def _index_by_decoding(self) -> list[int]:
        """Presentation times found by decoding the whole file once."""
        self._rewind()
        times = [frame.pts for frame in self._frames() if frame.pts is not None]
        return sorted(set(times))

    # Decoding

    def _rewind(self, pts: int | None = None) -> None:
        self._decoder = None
        try:
            if pts is None:
                self._container.seek(0, backward=True, any_frame=False)
            else:
                self._container.seek(pts, backward=True, any_frame=False, stream=self._stream)
        except av.error.FFmpegError as error:
            raise MediaError(f"{self.name} cannot be rewound: {error}") from error

    def _frames(self) -> Iterator[Any]:
        """Decoded frames from here on; damaged packets are passed over (the gap is noticed by its missing time)."""
        try:
            for packet in self._container.demux(self._stream):
                try:
                    yield from packet.decode()
                except av.error.InvalidDataError:  # noqa: PERF203 - one packet must not end the video
                    continue
        except av.error.FFmpegError:
            return

    def _decode(self, index: int) -> Any:
        """Frame ``index`` from the running decoder if it is close before it, else after a seek."""
        if self._decoder is None or not 0 <= index - self._next <= 16:
            frame = self._decode_after_seek(index)
        else:
            frame = self._advance(index) or self._decode_after_seek(index)
        if frame is None:
            raise MediaError(
                f"{self.name}: frame {index} (at {self.time(index):.2f} s) cannot be decoded; the file is damaged there"
            )
        return frame

    def _decode_after_seek(self, index: int) -> Any:
        # Some containers seek past the wanted key frame: start earlier until a frame before the target appears.
        for pts in (self._times[index], self._times[max(0, index - 250)], None):
            self._rewind(pts)
            self._decoder = self._frames()
            if (frame := self._advance(index)) is not None:
                return frame
        return None

    def _advance(self, index: int) -> Any:
        """Decode up to frame ``index`` and return it, or None where the decoder passes it by."""
        assert self._decoder is not None
        for frame in self._decoder:
            number = self._number.get(frame.pts)
            if number is None:
                continue
            self._next = number + 1
            self._cache[number] = frame
            self._cache.move_to_end(number)
            while len(self._cache) > getattr(self, "_capacity", 4):
                self._cache.popitem(last=False)
            if number == index:
                return frame
            if number > index:
                return None
        self._decoder = None
        return None


def _open(source: Any, name: str) -> Any:
    try:
        return av.open(source, mode="r")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{name} cannot be opened as a video: {error}") from error


def _rgb(frame: Any) -> Frame:
    """The decoded frame as RGB, upright."""
    picture = frame.to_ndarray(format="rgb24")
    turns = round(getattr(frame, "rotation", 0) / 90) % 4  # counterclockwise
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


def live_packets(source: int | str) -> Iterator[Frame]:
    """Frames of a camera (number, or ``camera:NAME``) or live URL as they come, until it ends."""
    name = f"camera:{source}" if isinstance(source, int) else source
    if name.startswith("camera:"):
        path, form = _camera(name.removeprefix("camera:"))
    else:
        path, form = name, None
    try:
        container = av.open(path, mode="r", format=form)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{name} cannot be opened: {error}") from error
    with container:
        for index, packet in enumerate(container.demux(video=0)):
            try:
                for frame in packet.decode():
                    yield _rgb(frame)
            except av.error.InvalidDataError:  # noqa: PERF203
                continue  # a live source goes on after a damaged packet
            except av.error.FFmpegError as error:
                raise MediaError(f"{name} failed after packet {index}: {error}") from error


def _camera(device: str) -> tuple[str, str]:
    """FFmpeg's name and input format for a camera of this system."""
    system = platform.system()
    if system == "Darwin":
        return device, "avfoundation"
    if system == "Windows":
        return f"video={device}", "dshow"
    return f"/dev/video{device}" if device.isdigit() else device, "v4l2"
