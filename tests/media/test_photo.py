from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from samphony.assets import SAMPLE_PHOTO
from samphony.errors import MediaError, PromptError
from samphony.media.photo import describe_image, load_photo, save_photo, to_uint8

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 10, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (6, 10), dtype=np.uint8)


def png(picture: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


def grey3(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[:, :, None], 3, axis=2)


def test_sample_photo_is_read() -> None:
    assert load_photo(SAMPLE_PHOTO).shape == (300, 451, 3)


@pytest.mark.parametrize("kind", ["str", "pathlib", "bytes", "pillow"])
def test_rgb_survives_every_door(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(RGB).save(path)
    doors = {"str": str(path), "pathlib": path, "bytes": path.read_bytes(), "pillow": Image.fromarray(RGB)}
    loaded = load_photo(doors[kind])
    assert loaded.dtype == np.uint8
    assert loaded.flags.c_contiguous
    np.testing.assert_array_equal(loaded, RGB)


PILLOW = {
    "1": (Image.fromarray(GREY > 127), grey3(np.where(GREY > 127, 255, 0))),
    "L": (Image.fromarray(GREY), grey3(GREY)),
    "LA": (Image.fromarray(np.dstack([GREY, GREY])), grey3(GREY)),
    "RGBA": (Image.fromarray(np.dstack([RGB, GREY])), RGB),
    "P": (Image.fromarray(GREY).convert("P"), grey3(GREY)),
    "I;16": (Image.fromarray(GREY.astype(np.uint16) * 257), grey3(GREY)),
    "I": (Image.fromarray(GREY.astype(np.int32) * 257), grey3(GREY)),
    "F": (Image.fromarray(GREY.astype(np.float32) / 255), grey3(GREY)),
    "CMYK": (Image.fromarray(RGB).convert("CMYK"), RGB),
}


@pytest.mark.parametrize("mode", PILLOW)
def test_pillow_modes(mode: str) -> None:
    picture, expected = PILLOW[mode]
    assert picture.mode == mode
    np.testing.assert_array_equal(load_photo(picture), expected)


@pytest.mark.parametrize("mode", ["YCbCr", "LAB", "HSV", "RGBX", "RGBa", "La"])
def test_rare_pillow_modes_give_rgb(mode: str) -> None:
    picture = Image.new("RGB", (10, 6), (250, 20, 30))
    through = {"RGBa": "RGBA", "La": "LA", "LAB": "RGB"}.get(mode, "RGB")
    picture = Image.new("LAB", (10, 6)) if mode == "LAB" else picture.convert(through).convert(mode)
    assert load_photo(picture).shape == (6, 10, 3)


def test_palette_with_transparency_does_not_warn() -> None:
    picture = Image.fromarray(GREY).convert("P")
    loaded = load_photo(png(picture, transparency=bytes([0, 128] * 128)))
    np.testing.assert_array_equal(loaded, grey3(GREY))


def test_sixteen_bit_png_file(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(GREY.astype(np.uint16) * 257).save(path)
    np.testing.assert_array_equal(load_photo(path), grey3(GREY))


@pytest.mark.parametrize("as_object", [False, True])
def test_exif_orientation_turns_the_picture_upright(tmp_path: Path, as_object: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270° to show
    path = tmp_path / "phone.png"
    Image.fromarray(RGB).save(path, exif=exif)
    loaded = load_photo(Image.open(path) if as_object else path)
    np.testing.assert_array_equal(loaded, np.rot90(RGB, k=-1))


ARRAYS = {
    "uint8": (RGB, RGB),
    "grey": (GREY, grey3(GREY)),
    "grey with an axis": (GREY[:, :, None], grey3(GREY)),
    "rgba": (np.dstack([RGB, GREY]), RGB),
    "uint16": (RGB.astype(np.uint16) * 257, RGB),
    "big-endian uint16": ((RGB.astype(np.uint16) * 257).astype(">u2"), RGB),
    "float in 0..1": (RGB / 255, RGB),
    "float16 in 0..1": ((RGB / 255).astype(np.float16), RGB),
    "float in 0..255": (RGB.astype(np.float32), RGB),
    "float rgba, opaque": (np.dstack([RGB / 255, np.full((6, 10), 255.0)]), RGB),
    "bool": (GREY > 127, grey3(np.where(GREY > 127, 255, 0))),
    "int64": (RGB.astype(np.int64), RGB),
    "mirrored view": (RGB[:, ::-1], RGB[:, ::-1]),
    "one pixel": (RGB[:1, :1], RGB[:1, :1]),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays(kind: str) -> None:
    pixels, expected = ARRAYS[kind]
    before = pixels.copy()
    loaded = load_photo(pixels)
    assert loaded.dtype == np.uint8
    assert loaded.flags.c_contiguous
    np.testing.assert_array_equal(loaded, expected)
    np.testing.assert_array_equal(pixels, before)


TENSORS = {
    "channels first": torch.from_numpy(RGB).permute(2, 0, 1),
    "channels last": torch.from_numpy(RGB),
    "batch of one": torch.from_numpy(RGB).permute(2, 0, 1)[None],
    "float": torch.from_numpy(RGB).permute(2, 0, 1) / 255,
    "with gradient": (torch.from_numpy(RGB) / 255).requires_grad_(),
    "rgba": torch.from_numpy(np.dstack([RGB, GREY])).permute(2, 0, 1),
}


@pytest.mark.parametrize("kind", TENSORS)
def test_torch_tensors(kind: str) -> None:
    np.testing.assert_array_equal(load_photo(TENSORS[kind]), RGB)


def test_bfloat16_tensor() -> None:
    tensor = (torch.from_numpy(RGB) / 255).bfloat16()
    assert np.abs(load_photo(tensor).astype(int) - RGB).max() <= 1


def test_bgr() -> None:
    np.testing.assert_array_equal(load_photo(RGB[:, :, ::-1], channel_order="bgr"), RGB)
    bgra = np.dstack([RGB[:, :, ::-1], GREY])
    np.testing.assert_array_equal(load_photo(bgra, channel_order="bgr"), RGB)
    np.testing.assert_array_equal(load_photo(Image.fromarray(RGB), channel_order="bgr"), RGB)


def test_keep_float_leaves_values() -> None:
    values = RNG.normal(size=(6, 10, 3))
    kept = load_photo(values, keep_float=True)
    assert kept.dtype == np.float32
    np.testing.assert_array_equal(kept, values.astype(np.float32))
    assert load_photo(RGB, keep_float=True).dtype == np.uint8


@given(st.integers(0, 65535))
def test_sixteen_bits_round_to_the_nearest(value: int) -> None:
    assert to_uint8(np.array([value], np.uint16))[0] == round(value / 257)


BAD = [
    (np.zeros((4, 5, 2), np.uint8), PromptError, r"image must be \(H, W\).*got \(4, 5, 2\)"),
    (np.zeros((3, 8, 9), np.uint8), PromptError, "channels come last"),
    (np.zeros((2, 8, 9, 3), np.uint8), PromptError, "set_image_batch"),
    (np.zeros(5, np.uint8), PromptError, "image must be"),
    (np.zeros((0, 5, 3), np.uint8), PromptError, "empty"),
    (np.full((2, 2), np.nan), PromptError, "NaN"),
    (np.full((2, 2), 300), PromptError, "0 … 255, got 300"),
    (np.full((2, 2), -0.5), PromptError, "0 … 1"),
    (np.full((2, 2), "a"), PromptError, "dtype"),
    (None, PromptError, "NoneType"),
    ([[1, 2], [3, 4]], PromptError, "list"),
    (b"", MediaError, "empty"),
    (b"not a picture at all", MediaError, "not a picture"),
    ("https://example.org/cat.jpg", MediaError, "is a URL"),
]


@pytest.mark.parametrize(("image", "error", "message"), BAD, ids=[message for _, _, message in BAD])
def test_bad_input_says_what_is_wrong(image: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_photo(image)


def test_keep_float_refuses_nan() -> None:
    with pytest.raises(PromptError, match="NaN"):
        load_photo(np.full((2, 2, 3), np.inf), keep_float=True)


def test_channel_order_is_checked() -> None:
    with pytest.raises(PromptError, match="channel_order"):
        load_photo(RGB, channel_order="gbr")  # type: ignore[arg-type]


def test_bad_files_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.jpg"
    with pytest.raises(MediaError, match=r"nowhere\.jpg does not exist"):
        load_photo(missing)
    with pytest.raises(MediaError, match="is a folder"):
        load_photo(tmp_path)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(SAMPLE_PHOTO.read_bytes()[:20000])
    with pytest.raises(MediaError, match=r"cut\.jpg: damaged or cut short"):
        load_photo(cut)
    (tmp_path / "empty.png").touch()
    with pytest.raises(MediaError, match=r"empty\.png: empty"):
        load_photo(tmp_path / "empty.png")


def test_cut_pillow_image_opened_lazily(tmp_path: Path) -> None:
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(SAMPLE_PHOTO.read_bytes()[:20000])
    with Image.open(cut) as picture, pytest.raises(MediaError, match="damaged"):
        load_photo(picture)


def test_pillow_image_with_impossible_values() -> None:
    with pytest.raises(PromptError, match="NaN"):
        load_photo(Image.fromarray(np.full((2, 2), np.nan, np.float32)))


def test_closed_pillow_image() -> None:
    with Image.open(SAMPLE_PHOTO) as picture:
        pass
    with pytest.raises(MediaError, match="the Pillow image"):
        load_photo(picture)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ("cat.jpg", "path 'cat.jpg'"),
        (b"abc", "3 bytes"),
        (Image.new("L", (4, 3)), "Pillow image 4 × 3 of mode L"),
        (np.zeros((2, 3)), "numpy array (2, 3) of float64"),
        (torch.zeros(2, 3), "torch array (2, 3) of torch.float32"),
        (3, "int"),
    ],
)
def test_describe_image(image: object, text: str) -> None:
    assert describe_image(image) == text


def test_save_photo_round_trip(tmp_path: Path) -> None:
    path = save_photo(tmp_path / "deep" / "er" / "out.png", RGB)
    np.testing.assert_array_equal(load_photo(path), RGB)
    assert [p.name for p in path.parent.iterdir()] == ["out.png"]


@pytest.mark.parametrize("name", ["out.xyz", "out"])
def test_save_photo_unknown_format(tmp_path: Path, name: str) -> None:
    with pytest.raises(MediaError, match="cannot write the picture"):
        save_photo(tmp_path / name, RGB)
    assert list(tmp_path.iterdir()) == []


def test_save_photo_failure_keeps_the_old_file(tmp_path: Path) -> None:
    path = save_photo(tmp_path / "out.jpg", RGB)
    before = path.read_bytes()
    with pytest.raises(MediaError):
        save_photo(path, np.dstack([RGB, GREY]))  # JPEG has no alpha
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out.jpg"]
