"""Videos to read: one small interface, whatever the frames come from.

A :class:`FrameSource` is a random-access sequence of RGB frames that decodes on demand and keeps next to nothing.
:func:`open_video` picks the right one; :func:`live_frames` reads what has no length (cameras, live URLs, generators).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samphony.errors import MediaError

Frame = NDArray[np.uint8]
"""One RGB picture, uint8, (H, W, 3)."""

_LIVE_SCHEMES = ("rtsp://", "rtmp://", "udp://", "rtp://", "tcp://", "srt://", "camera:")


class FrameSource(ABC):
    """Random access to the frames of a video. All frames have the same size; reads are thread-safe."""

    name: str
    """What error messages call this video: its path, URL or kind."""
    height: int
    width: int
    rate: Fraction | None = None
    """Nominal frames per second, or None where there is none (folders, arrays)."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of frames."""

    @abstractmethod
    def read(self, index: int) -> Frame:
        """Frame ``index`` as uint8 (height, width, 3) RGB. Raises :class:`MediaError` naming the frame."""

    def __getitem__(self, index: int) -> Frame:
        """Frame ``index`` with Python's rules for negative and invalid indices."""
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"frame {index} is outside {self.name}, which has {count} frames")
        return self.read(index % count)

    def __iter__(self) -> Iterator[Frame]:
        for index in range(len(self)):
            yield self.read(index)

    def time(self, index: int) -> float:
        """When frame ``index`` is shown, in seconds from the first frame (25 frames a second where unknown)."""
        return index / float(self.rate or 25)

    def close(self) -> None:  # noqa: B027 - most sources hold nothing open
        """Release files and threads. The source cannot be read afterwards."""

    def check_size(self, frame: Frame, index: int) -> Frame:
        """Return ``frame``, or raise where its size is not that of the video."""
        if frame.shape[:2] != (self.height, self.width):
            found = f"{frame.shape[1]} × {frame.shape[0]}"
            raise MediaError(
                f"{self.name}: frame {index} is {found} but the video is {self.width} × {self.height}; "
                "all frames of a video must have one size"
            )
        return frame


def open_video(source: Any) -> FrameSource:
    """Open anything that holds a finite number of frames.

    ``source`` may be a folder of images (natural order), a video file or URL that FFmpeg reads, the bytes of a video
    file, a numpy or torch array ``(T, H, W, 3)`` or ``(T, 3, H, W)``, a list of pictures (arrays, PIL images or paths),
    an iterator of frames (spooled to a temporary file), or a :class:`FrameSource`, which is returned as it is.

    Raises :class:`MediaError` for empty, damaged or unsupported sources.
    """
    from samphony.media.video_arrays import ArraySource, PictureList, SpooledSource, is_array
    from samphony.media.video_file import VideoFile
    from samphony.media.video_folder import ImageFolder

    if isinstance(source, FrameSource):
        return source
    if isinstance(source, (str, Path)):
        text = str(source)
        if text.startswith(_LIVE_SCHEMES):
            raise MediaError(f"{text} is live and has no last frame; use predictor.stream() and live_frames({text!r})")
        if "://" in text:
            return VideoFile(text)
        path = Path(text).expanduser()
        if path.is_dir():
            return ImageFolder(path)
        if not path.exists():
            raise MediaError(f"{path}: no such video file or folder of images")
        return VideoFile(path)
    if isinstance(source, (bytes, bytearray)):
        return VideoFile(bytes(source))
    if is_array(source):
        return ArraySource(source)
    if isinstance(source, (list, tuple)):
        return PictureList(source)
    if hasattr(source, "__next__") or hasattr(source, "__iter__"):
        return SpooledSource(source)
    raise MediaError(
        f"cannot read a video from {type(source).__name__}; give a folder, a file, a URL, bytes, an array "
        "(T, H, W, 3), a list of pictures or an iterator of frames"
    )


def live_frames(source: Any) -> Iterator[Frame]:
    """Frames in order, one at a time, from a camera (``0`` or ``"camera:0"``), a live URL or anything else readable.

    Nothing is kept: memory stays flat however long the source runs.
    """
    from samphony.media.video_arrays import as_frame
    from samphony.media.video_file import live_packets

    if isinstance(source, int) or (isinstance(source, str) and source.startswith(_LIVE_SCHEMES)):
        yield from live_packets(source)
    elif hasattr(source, "__next__"):
        for index, picture in enumerate(source):
            yield as_frame(picture, f"frame {index} of the iterator")
    else:
        yield from open_video(source)
