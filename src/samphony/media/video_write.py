"""Write a video: H.264 in MP4, at the times of the original, with its sound."""

from __future__ import annotations

import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import av.error
import numpy as np

from samphony.errors import MediaError
from samphony.media.video import Frame

_CLOCK = Fraction(1, 90_000)
_COPIED_AUDIO = {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}


class VideoWriter:
    """Frames in, one MP4 out. The file appears at ``path`` on :meth:`close`; a failure leaves what was there before.

    ``sound`` names a video whose first audio track is kept, from ``sound_start`` seconds on. Odd sizes are padded by
    one row or column, which H.264's usual pixel format needs.
    """

    def __init__(
        self,
        path: Path,
        *,
        height: int,
        width: int,
        rate: Fraction | None = None,
        sound: Path | None = None,
        sound_start: float = 0.0,
        crf: int = 20,
    ) -> None:
        self.path = Path(path)
        self._part = self.path.with_name(f".{self.path.stem}.{os.getpid()}.part.mp4")
        self._pad = (height % 2, width % 2)
        self._last = -1
        self._step = float(1 / (rate or Fraction(25)))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._out: Any = av.open(str(self._part), "w")
            self._video: Any = self._out.add_stream("libx264", rate=rate or Fraction(25))
            self._video.height, self._video.width = height + self._pad[0], width + self._pad[1]
            self._video.pix_fmt = "yuv420p"
            self._video.time_base = _CLOCK
            self._video.codec_context.time_base = _CLOCK
            self._video.options = {"crf": str(crf), "preset": "medium"}
            self._sound = _SoundTrack.open(self._out, sound, sound_start) if sound else None
        except (av.error.FFmpegError, OSError) as error:
            self.discard()
            raise MediaError(f"{self.path} cannot be written: {error}") from error

    def write(self, frame: Frame, time: float) -> None:
        """Add one RGB frame shown ``time`` seconds after the first. Times must grow."""
        if any(self._pad):
            frame = np.pad(frame, ((0, self._pad[0]), (0, self._pad[1]), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts = max(round(time / float(_CLOCK)), self._last + 1)
        picture.time_base = _CLOCK
        self._last = picture.pts
        try:
            self._out.mux(self._video.encode(picture))
            if self._sound:
                self._sound.advance(self._out, time)
        except (av.error.FFmpegError, OSError) as error:
            self.discard()
            raise MediaError(f"{self.path} cannot be written: {error}") from error

    def close(self) -> None:
        """Finish the file and put it in its place."""
        try:
            self._out.mux(self._video.encode(None))
            if self._sound:
                self._sound.advance(self._out, self._last * float(_CLOCK) + self._step, last=True)
            self._out.close()
            self._part.replace(self.path)
        except (av.error.FFmpegError, OSError) as error:
            self.discard()
            raise MediaError(f"{self.path} cannot be written: {error}") from error

    def discard(self) -> None:
        """Drop what was written; an older file at ``path`` stays."""
        out = getattr(self, "_out", None)
        if out is not None:
            with suppress(av.error.FFmpegError, OSError):  # the disk may be full
                out.close()
        with suppress(OSError):
            self._part.unlink()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


class _SoundTrack:
    """The first audio track of a file: its packets copied, or encoded again as AAC where MP4 cannot hold them."""

    def __init__(self, container: Any, source: Any, target: Any, start: float) -> None:
        self._container, self._source, self._target = container, source, target
        self._copies = source.codec_context.name in _COPIED_AUDIO
        self._start = start
        self._packets = container.demux(source)
        self._held: Any = None

    @classmethod
    def open(cls, out: Any, path: Path, start: float) -> _SoundTrack | None:
        """The track ready to be read, or None where the file has no sound."""
        try:
            container = av.open(str(path))
        except (av.error.FFmpegError, OSError):
            return None
        if not container.streams.audio:
            container.close()
            return None
        source = container.streams.audio[0]
        if source.codec_context.name in _COPIED_AUDIO:
            add = getattr(out, "add_stream_from_template", None)
            target = add(source) if add else out.add_stream(template=source)
        else:
            target = out.add_stream("aac", rate=source.codec_context.sample_rate)
        if start > 0 and source.time_base:
            container.seek(int(start / source.time_base), stream=source, backward=True)
        return cls(container, source, target, start)

    def advance(self, out: Any, time: float, last: bool = False) -> None:
        """Write the sound up to ``time`` seconds after the first frame."""
        while True:
            packet = next(self._packets, None) if self._held is None else self._held
            self._held = None
            if packet is None or packet.size == 0 or packet.pts is None:
                break
            at = float(packet.pts * packet.time_base) - self._start
            if at > time:
                self._held = packet
                break
            if at >= 0:
                self._write(out, packet)
        if last:
            if not self._copies:
                out.mux(self._target.encode(None))
            self._container.close()

    def _write(self, out: Any, packet: Any) -> None:
        offset = int(self._start / packet.time_base)
        if self._copies:
            packet.pts -= offset
            packet.dts = packet.pts
            packet.stream = self._target
            out.mux(packet)
            return
        for frame in packet.decode():
            if frame.pts is not None:
                frame.pts -= offset
            out.mux(self._target.encode(frame))
