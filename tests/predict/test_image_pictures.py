"""The image door takes pictures of every kind."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.predict.conftest import LABEL, POINT, H, Photo, W, same

from samphony import SAM2ImagePredictor
from samphony.errors import MediaError, PromptError


def encoded(photo: Photo, mode: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(photo).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


RGB_INPUTS: dict[str, Callable[[Photo, Path], Any]] = {
    "pillow": lambda photo, _: Image.fromarray(photo),
    "bytes": lambda photo, _: encoded(photo, "RGB"),
    "path": lambda photo, folder: save(folder / "a.png", photo),
    "text path": lambda photo, folder: str(save(folder / "a.png", photo)),
    "rgba array": lambda photo, _: np.dstack((photo, np.full((H, W), 255, np.uint8))),
    "rgba pillow": lambda photo, _: Image.fromarray(photo).convert("RGBA"),
    "float array": lambda photo, _: photo.astype(np.float32) / np.float32(255),
    "double array": lambda photo, _: photo / 255,
    "int array": lambda photo, _: photo.astype(np.int64),
    "uint16 array": lambda photo, _: photo.astype(np.uint16) * 257,
    "bgr view": lambda photo, _: photo[:, :, ::-1][:, :, ::-1],
    "tensor HWC": lambda photo, _: torch.from_numpy(photo),
    "tensor CHW": lambda photo, _: torch.from_numpy(photo).permute(2, 0, 1),
    "tensor 1CHW float": lambda photo, _: torch.from_numpy(photo).permute(2, 0, 1)[None] / 255,
}


def save(path: Path, photo: Photo) -> Path:
    Image.fromarray(photo).save(path)
    return path


@pytest.mark.parametrize("kind", sorted(RGB_INPUTS))
def test_every_kind_of_picture_gives_the_same_masks(
    kind: str, predictor: SAM2ImagePredictor, photo: Photo, tmp_path: Path
) -> None:
    wanted = predictor.predict(POINT, LABEL)
    predictor.set_image(RGB_INPUTS[kind](photo, tmp_path))
    assert same(predictor.predict(POINT, LABEL), wanted)


GREY_INPUTS: dict[str, Callable[[Photo], Any]] = {
    "2-d array": lambda grey: grey,
    "one channel": lambda grey: grey[:, :, None],
    "pillow L": lambda grey: Image.fromarray(grey),
    "pillow I;16": lambda grey: Image.fromarray(grey.astype(np.uint16) * 257),
    "float": lambda grey: grey.astype(np.float32) / np.float32(255),
    "palette": lambda grey: Image.fromarray(grey).convert("P"),
}


@pytest.mark.parametrize("kind", sorted(GREY_INPUTS))
def test_grey_pictures_are_three_equal_channels(kind: str, predictor: SAM2ImagePredictor, photo: Photo) -> None:
    grey = np.asarray(Image.fromarray(photo).convert("L"))
    predictor.set_image(np.dstack((grey,) * 3))
    wanted = predictor.predict(POINT, LABEL)
    predictor.set_image(GREY_INPUTS[kind](grey))
    assert same(predictor.predict(POINT, LABEL), wanted)


def test_bgr_has_to_be_said(predictor: SAM2ImagePredictor, photo: Photo) -> None:
    wanted = predictor.predict(POINT, LABEL)
    bgr = photo[:, :, ::-1]
    predictor.set_image(bgr, channel_order="bgr")
    assert same(predictor.predict(POINT, LABEL), wanted)
    predictor.set_image(bgr)
    assert not same(predictor.predict(POINT, LABEL), wanted)


def test_a_picture_lying_on_its_side_is_turned(predictor: SAM2ImagePredictor, photo: Photo) -> None:
    wanted = predictor.predict(POINT, LABEL)
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(photo)))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    buffer = io.BytesIO()
    turned.save(buffer, "PNG", exif=exif)
    predictor.set_image(buffer.getvalue())
    assert same(predictor.predict(POINT, LABEL), wanted)


def test_a_file_that_cannot_be_read(predictor: SAM2ImagePredictor, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"missing\.png"):
        predictor.set_image(tmp_path / "missing.png")
    with pytest.raises(MediaError):
        predictor.set_image(b"no picture")


@pytest.mark.parametrize("array", [np.zeros((3, 4, 5), np.uint8), np.zeros(7), np.full((4, 4, 3), np.nan)])
def test_an_array_that_is_no_picture(predictor: SAM2ImagePredictor, array: Photo) -> None:
    with pytest.raises(PromptError):
        predictor.set_image(array)


def test_floats_are_not_divided(predictor: SAM2ImagePredictor, photo: Photo) -> None:
    """Officially floats are taken as they are; 0…255 would be far out."""
    predictor.set_image(photo)
    wanted = predictor.get_image_embedding()
    predictor.set_image(photo.astype(np.float32))
    assert not torch.allclose(predictor.get_image_embedding(), wanted, atol=1e-2)
