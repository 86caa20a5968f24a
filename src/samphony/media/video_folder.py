"""A folder of images as a video."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from samphony.errors import MediaError
from samphony.media.video import Frame, FrameSource

_JPEG = {".jpg", ".jpeg"}
_IMAGES = _JPEG | {".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".jp2", ".avif"}


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key by which ``frame9`` comes before ``frame10``."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, int(part), part) if part.isdigit() else (1, 0, part.lower()) for part in parts)


class ImageFolder(FrameSource):
    """Images of a folder in natural order of their names.

    Where the folder holds JPEG files only those are frames, as officially; otherwise any image is. Orientation tags
    are ignored, as officially. Frames keep their file names in ``paths``.
    """

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        try:
            files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
        except OSError as error:
            raise MediaError(f"{folder}: cannot list the folder: {error}") from error
        images = [path for path in files if path.suffix.lower() in _JPEG]
        images = images or [path for path in files if path.suffix.lower() in _IMAGES]
        if not images:
            raise MediaError(f"no images found in {folder}; it must hold JPEG, PNG or other image files")
        self.paths = sorted(images, key=lambda path: natural_key(path.stem))
        try:
            with Image.open(self.paths[0]) as image:
                self.width, self.height = image.size
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise MediaError(f"{self.paths[0]}: frame 0 cannot be read: {error}") from error

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> Frame:
        path = self.paths[index]
        try:
            with Image.open(path) as image:
                frame = np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise MediaError(f"{path}: frame {index} cannot be read: {error}") from error
        return self.check_size(frame, index)
