"""Pictures of any size, read window by window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from samphony.errors import MediaError, PromptError
from samphony.media.photo import describe_image, load_photo

Window = tuple[tuple[int, int], tuple[int, int]]
"""Rows from … to and columns from … to, ends exclusive: as rasterio takes them."""


class WindowReader(Protocol):
    """What rasterio's data sets offer, and anything else that has ``height``, ``width`` and ``read``."""

    @property
    def height(self) -> int:
        """Pixels."""

    @property
    def width(self) -> int:
        """Pixels."""

    def read(self, *, window: Window) -> npt.NDArray[Any]:
        """The pixels of a window, (h,w,3) or (3,h,w)."""


@dataclass(frozen=True)
class ArraySource:
    """A picture in memory or in a memory-mapped file, (H,W,C) or (H,W)."""

    pixels: npt.NDArray[Any]

    @property
    def height(self) -> int:
        """Pixels."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """Pixels."""
        return self.pixels.shape[1]

    def read(self, *, window: Window) -> npt.NDArray[Any]:
        """A copy of the window, so that a memory map is read once and let go."""
        (top, bottom), (left, right) = window
        return np.array(self.pixels[top:bottom, left:right])


def open_source(image: Any) -> WindowReader:
    """Take an array, a memory map, an object that reads windows, or any photo that ``load_photo`` takes."""
    if all(hasattr(image, name) for name in ("read", "height", "width")):
        reader: WindowReader = image
        return reader
    if isinstance(image, np.ndarray):
        if image.ndim not in (2, 3):
            raise PromptError(f"image must be (H,W) or (H,W,C), got {image.shape}")
        return ArraySource(image)
    return ArraySource(load_photo(image))


def read_window(source: WindowReader, box: tuple[int, int, int, int]) -> npt.NDArray[Any]:
    """RGB pixels (h,w,3) uint8 of a box x0, y0, x1, y1.

    Raises:
        MediaError: the source gave something of another size.
    """
    x0, y0, x1, y1 = box
    pixels = source.read(window=((y0, y1), (x0, x1)))
    wanted = (y1 - y0, x1 - x0)
    if pixels.ndim == 3 and pixels.shape[:2] != wanted and pixels.shape[1:] == wanted:
        pixels = np.moveaxis(pixels, 0, -1)  # channels first, as rasterio gives them
        if pixels.shape[2] > 4:
            pixels = pixels[..., :3]
    if pixels.shape[:2] != wanted:
        raise MediaError(f"read(window={((y0, y1), (x0, x1))}) gave {describe_image(pixels)}, not {wanted} pixels")
    return load_photo(pixels)
