"""Any picture that people have, as an RGB array ``(H, W, 3)``.

What is done with each kind of input:

======================  ====================================================================================
path, bytes             decoded with Pillow, turned upright by the EXIF orientation; first frame of animations
Pillow image, any mode  turned upright, too; grey, palette, 1-bit, CMYK, … converted to RGB
alpha channel           dropped: the colours are used as stored, whatever shows through
16-bit pixels           scaled from 0 … 65535 to 0 … 255
bool                    False is black, True is white
integers                must lie in 0 … 255
float                   0 … 1, or 0 … 255 when the largest value is above 1; kept as given with ``keep_float``
torch tensors           channels first or last, one picture, also as a batch of one
======================  ====================================================================================

Nothing is fetched from the network: a URL is an error.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from samphony.errors import MediaError, PromptError
from samphony.files import replacing

ChannelOrder = Literal["rgb", "bgr"]
PhotoLike: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[Any] | Any"
"""Path, encoded bytes, Pillow image, numpy array, torch tensor, or anything numpy can read as an array."""


def load_photo(image: PhotoLike, *, channel_order: ChannelOrder = "rgb", keep_float: bool = False) -> npt.NDArray[Any]:
    """Read a picture of any kind as contiguous RGB ``(H, W, 3)``, uint8.

    Args:
        image: see the table at the top of this module.
        channel_order: order of the channels of an array or tensor with 3 or 4 channels; ``"bgr"`` for
            OpenCV's. Files and Pillow images know their own order, so the argument does not touch them.
        keep_float: give float input back as float32 with its values untouched, as the official image
            predictor uses it (it does not divide floats by 255, so they should lie in 0 … 1).

    Raises:
        MediaError: a file or bytes that cannot be read; the message names the file.
        PromptError: an array of a wrong shape, type or range, or an object that is no picture.
    """
    if channel_order not in ("rgb", "bgr"):
        raise PromptError(f'channel_order must be "rgb" or "bgr", got {channel_order!r}')
    if isinstance(image, (str, os.PathLike)):
        return _from_pillow(_open(Path(image)), keep_float, str(image))
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _from_pillow(_decode(bytes(image)), keep_float, "image bytes")
    if isinstance(image, Image.Image):
        return _from_pillow(image, keep_float, "the Pillow image")
    if isinstance(image, np.ndarray):
        return _from_array(image, channel_order, keep_float)
    if hasattr(image, "detach"):
        return _from_array(_channels_last(_tensor_to_numpy(image)), channel_order, keep_float)
    if hasattr(image, "__array__"):
        return _from_array(np.asarray(image), channel_order, keep_float)
    raise PromptError(
        f"image cannot be a {describe_image(image)}; give a path, encoded bytes, a Pillow image, "
        "a numpy array (H, W, 3) or a torch tensor"
    )


def describe_image(image: object) -> str:
    """Say in a few words what was given as a picture, for messages: ``numpy array (48, 80) of float64``."""
    if isinstance(image, (str, os.PathLike)):
        return f"path {os.fspath(image)!r}"
    if isinstance(image, (bytes, bytearray, memoryview)):
        return f"{len(image)} bytes"
    if isinstance(image, Image.Image):
        return f"Pillow image {image.width} × {image.height} of mode {image.mode}"
    if isinstance(image, np.ndarray):
        return f"numpy array {image.shape} of {image.dtype}"
    shape, dtype = getattr(image, "shape", None), getattr(image, "dtype", None)
    if shape is not None and dtype is not None:
        return f"{type(image).__module__.partition('.')[0]} array {tuple(shape)} of {dtype}"
    return f"{type(image).__module__}.{type(image).__qualname__}".removeprefix("builtins.")


def to_uint8(pixels: npt.NDArray[Any], name: str = "image") -> npt.NDArray[np.uint8]:
    """Bring pixels of any dtype to uint8 by the rules at the top of this module; the shape stays."""
    kind = pixels.dtype.kind
    if pixels.dtype == np.uint8:
        return np.asarray(pixels, np.uint8)
    if kind == "b":
        return np.asarray(np.where(pixels, 255, 0), np.uint8)
    if kind == "u" and pixels.dtype.itemsize == 2:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if kind in "iu":
        low, high = int(pixels.min()), int(pixels.max())
        if low < 0 or high > 255:
            raise PromptError(
                f"{name} of {pixels.dtype} must hold values in 0 … 255, got {low} … {high}; "
                "scale it, or give uint16 for 16-bit pixels"
            )
        return pixels.astype(np.uint8)
    if kind == "f":
        darkest, brightest = float(pixels.min()), float(pixels.max())
        if not (np.isfinite(darkest) and np.isfinite(brightest)):
            raise PromptError(f"{name} holds NaN or infinite values")
        if darkest < 0 or brightest > 255:
            raise PromptError(
                f"{name} of {pixels.dtype} must hold values in 0 … 1 or 0 … 255, got {darkest:.4g} … {brightest:.4g}"
            )
        scale = np.float32(255 if brightest <= 1 else 1)
        return np.asarray(np.rint(pixels.astype(np.float32) * scale), np.uint8)
    raise PromptError(f"{name} must hold numbers, got dtype {pixels.dtype}")


def save_photo(path: str | os.PathLike[str], pixels: npt.NDArray[np.uint8]) -> Path:
    """Write ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)`` uint8 in the format of the suffix.

    The file is written whole or not at all.

    Raises:
        MediaError: the suffix is unknown, the format cannot hold alpha, or the file cannot be written.
    """
    path = Path(path)
    try:
        with replacing(path) as temporary:
            Image.fromarray(pixels).save(temporary)
    except (OSError, ValueError) as error:
        raise MediaError(f"cannot write the picture {path}: {error}") from error
    return path


def _open(path: Path) -> Image.Image:
    if str(path).startswith(("http:/", "https:/")):
        raise MediaError(f"image {path} is a URL; samphony reads local files only: download it first")
    if path.is_dir():
        raise MediaError(f"image {path} is a folder; give one picture")
    if not path.exists():
        raise MediaError(f"image {path} does not exist")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MediaError(f"image {path} cannot be read: {error}") from error
    return _decode(data, f"image {path}")


def _decode(data: bytes, name: str = "image bytes") -> Image.Image:
    """Decode every pixel now, so that a damaged file fails here and not somewhere in numpy."""
    if not data:
        raise MediaError(f"{name}: empty")
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except UnidentifiedImageError as error:
        raise MediaError(f"{name}: not a picture in a format that Pillow knows") from error
    except Image.DecompressionBombError as error:
        raise MediaError(
            f"{name}: {error}; if you trust it, raise PIL.Image.MAX_IMAGE_PIXELS before loading"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's many decoders raise what they like on damaged files
        raise MediaError(f"{name}: damaged or cut short ({error})") from error
    return picture


def _from_pillow(picture: Image.Image, keep_float: bool, name: str) -> npt.NDArray[Any]:
    if picture.width == 0 or picture.height == 0:
        raise PromptError(f"{name} is empty: {picture.width} × {picture.height} pixels")
    try:
        upright = ImageOps.exif_transpose(picture)
        mode = upright.mode
        if mode.startswith("I;16"):
            return _from_array(np.asarray(upright).astype(np.uint16), "rgb", keep_float)
        if mode == "I":  # how some Pillow versions hold 16-bit grey
            return _from_array(_sixteen_bit(np.asarray(upright), name), "rgb", keep_float)
        if mode == "F":
            return _from_array(np.asarray(upright), "rgb", keep_float)
        if mode in ("P", "PA"):  # by way of RGBA: palettes with transparency warn otherwise
            upright = upright.convert("RGBA")
        if mode in ("La", "RGBa"):  # premultiplied alpha converts only to its plain form
            upright = upright.convert("LA" if mode == "La" else "RGBA")
        return np.array(upright.convert("RGB"))
    except (PromptError, MemoryError):
        raise
    except Exception as error:  # a lazily opened file is decoded only now; a closed one fails, too
        raise MediaError(f"{name}: damaged or cut short ({error})") from error


def _sixteen_bit(pixels: npt.NDArray[Any], name: str) -> npt.NDArray[np.uint16]:
    low, high = int(pixels.min()), int(pixels.max())
    if low < 0 or high > 65535:
        raise PromptError(f"{name} of mode I must hold values in 0 … 65535, got {low} … {high}")
    return pixels.astype(np.uint16)


def _from_array(pixels: npt.NDArray[Any], channel_order: ChannelOrder, keep_float: bool) -> npt.NDArray[Any]:
    """(H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of any dtype and strides -> (H, W, 3)."""
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)):
        hint = ""
        if pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4):
            hint = "; channels come last: image.transpose(1, 2, 0)"
        elif pixels.ndim == 4:
            hint = "; give one picture, or set_image_batch a list of them"
        raise PromptError(f"image must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {pixels.shape}{hint}")
    if pixels.size == 0:
        raise PromptError(f"image is empty: shape {pixels.shape}")
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    pixels = pixels[:, :, :3]  # before scaling: an alpha channel must not decide the range
    if pixels.dtype.kind == "f" and keep_float:
        if not np.isfinite(pixels).all():
            raise PromptError("image holds NaN or infinite values")
        pixels = pixels.astype(np.float32, copy=False)
    else:
        pixels = to_uint8(pixels)
    if pixels.shape[2] == 1:
        pixels = pixels.repeat(3, axis=2)
    if channel_order == "bgr":
        pixels = pixels[:, :, ::-1]
    return np.ascontiguousarray(pixels)


def _tensor_to_numpy(tensor: Any) -> npt.NDArray[Any]:
    """A torch tensor as numpy without importing torch; bfloat16, which numpy lacks, as float32."""
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":
        tensor = tensor.float()
    return np.asarray(tensor.numpy())


def _channels_last(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(3, H, W) -> (H, W, 3). Where both ends could be channels, the first are: that is torch's order."""
    if pixels.ndim == 4 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4):
        return np.moveaxis(pixels, 0, 2)
    return pixels
