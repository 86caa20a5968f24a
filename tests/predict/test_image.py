"""The image door: inputs of every kind, official shapes, batches, masks as prompts, embeddings on disk."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from samphony import SAM2ImagePredictor
from samphony.errors import CheckpointError, MediaError, PromptError, StateError
from samphony.model.base import SAM2Base
from samphony.model.config import SAM2Config
from samphony.predict.build import build_sam2

Photo = np.ndarray
H, W = 48, 80
POINT, LABEL = [[40, 24]], [1]


@pytest.fixture
def predictor(tiny_model: SAM2Base, photo: Photo) -> SAM2ImagePredictor:
    """A predictor on which the photo is set."""
    door = SAM2ImagePredictor(tiny_model)
    door.set_image(photo)
    return door


def same(a: Any, b: Any, atol: float = 1e-5) -> bool:
    return all(np.allclose(x, y, atol=atol) for x, y in zip(a, b, strict=True))


# ------------------------------------------------------------------ pictures


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


# ------------------------------------------------------------------ prompts and what comes back


@pytest.mark.parametrize(
    ("prompt", "shape"),
    [
        ({"point_coords": POINT, "point_labels": LABEL}, (3,)),
        ({"point_coords": POINT, "point_labels": LABEL, "multimask_output": False}, (1,)),
        ({"box": [10, 10, 60, 40], "multimask_output": False}, (1,)),
        ({"box": [10, 10, 60, 40], "point_coords": POINT, "point_labels": LABEL}, (3,)),
        ({"box": [[10, 10, 60, 40], [1, 2, 30, 20]], "multimask_output": False}, (2, 1)),
        ({"box": [[10, 10, 60, 40], [1, 2, 30, 20]]}, (2, 3)),
        ({"point_coords": [[[5, 6]], [[7, 8]], [[9, 9]]], "point_labels": [[1], [1], [0]]}, (3, 3)),
        (
            {
                "box": [[10, 10, 60, 40], [1, 2, 30, 20]],
                "point_coords": [[[5, 6]], [[7, 8]]],
                "point_labels": [[1], [0]],
            },
            (2, 3),
        ),
        ({"mask_input": np.zeros((1, 16, 16), np.float32)}, (3,)),
        ({}, (3,)),
        ({"multimask_output": False}, (1,)),
    ],
)
def test_official_shapes_and_types(
    predictor: SAM2ImagePredictor, prompt: dict[str, Any], shape: tuple[int, ...]
) -> None:
    masks, ious, low = predictor.predict(**prompt)
    assert masks.shape == (*shape, H, W)
    assert ious.shape == shape
    assert low.shape == (*shape, 16, 16)
    assert masks.dtype == ious.dtype == low.dtype == np.float32
    assert set(np.unique(masks)) <= {0.0, 1.0}


def test_logits_are_clamped_where_they_come_back_and_not_where_masks_are_made(
    fresh_tiny_model: Callable[..., SAM2Base], tiny_config: SAM2Config, photo: Photo
) -> None:
    model = fresh_tiny_model(tiny_config)
    with torch.no_grad():
        model.sam_mask_decoder.mask_tokens.weight.mul_(1e4)
        for mlp in model.sam_mask_decoder.output_hypernetworks_mlps:
            mlp.layers[-1].weight.mul_(1e4)
    door = SAM2ImagePredictor(model)
    door.set_image(photo)
    masks, _, low = door.predict(POINT, LABEL, return_logits=True)
    assert np.abs(low).max() == 32.0
    assert np.abs(masks).max() > 32.0


def test_masks_are_the_logits_above_the_threshold(predictor: SAM2ImagePredictor) -> None:
    logits, _, low = predictor.predict(POINT, LABEL, return_logits=True)
    masks, _, _ = predictor.predict(POINT, LABEL)
    assert np.array_equal(masks, logits > 0)
    enlarged = torch.nn.functional.interpolate(
        torch.from_numpy(low)[None], (H, W), mode="bilinear", align_corners=False
    )
    assert np.allclose(enlarged[0], logits, atol=1e-5)
    predictor.mask_threshold = float(np.median(logits))
    masks, _, _ = predictor.predict(POINT, LABEL)
    assert np.array_equal(masks, logits > predictor.mask_threshold)


def test_coordinates_in_pixels_or_in_shares(predictor: SAM2ImagePredictor) -> None:
    pixels = predictor.predict([[40, 12]], [1])
    shares = predictor.predict([[0.5, 0.25]], [1], normalize_coords=False)
    assert same(pixels, shares)


def test_arrays_tensors_and_lists(predictor: SAM2ImagePredictor) -> None:
    wanted = predictor.predict(POINT, LABEL, box=[10, 10, 60, 40])
    for kind in (np.array, torch.tensor):
        got = predictor.predict(kind(POINT), kind(LABEL), box=kind([10, 10, 60, 40]))
        assert same(got, wanted)
    assert same(
        predictor.predict(np.array(POINT, np.int64), np.array(LABEL, bool), np.array([[10, 10, 60, 40]])), wanted
    )


def test_a_box_comes_before_the_points(predictor: SAM2ImagePredictor) -> None:
    wanted = predictor.predict([[10, 10], [60, 40], [40, 24]], [2, 3, 1])
    assert same(predictor.predict(POINT, LABEL, box=[10, 10, 60, 40]), wanted)


def test_a_batch_of_prompts_equals_the_prompts_alone(predictor: SAM2ImagePredictor) -> None:
    boxes = np.array([[10, 10, 60, 40], [1, 2, 30, 20], [0, 0, 80, 48]])
    points, labels = np.array([[[20, 20]], [[9, 9]], [[50, 30]]]), np.array([[1], [0], [1]])
    together = predictor.predict(points, labels, boxes)
    for i in range(3):
        alone = predictor.predict(points[i], labels[i], boxes[i])
        assert same([t[i] for t in together], alone)


def test_one_mask_under_many_boxes(predictor: SAM2ImagePredictor) -> None:
    mask = np.random.default_rng(0).normal(size=(1, 16, 16)).astype(np.float32)
    boxes = [[10, 10, 60, 40], [1, 2, 30, 20]]
    together = predictor.predict(box=boxes, mask_input=mask)
    assert same([t[1] for t in together], predictor.predict(box=boxes[1], mask_input=mask))


def test_points_outside_the_photo_are_accepted(predictor: SAM2ImagePredictor) -> None:
    masks, _, _ = predictor.predict([[-50, 900]], [1])
    assert masks.shape == (3, H, W)


def test_the_prompt_matters(predictor: SAM2ImagePredictor) -> None:
    here, there = predictor.predict([[40, 24]], [1])[2], predictor.predict([[2, 2]], [1])[2]
    assert not np.allclose(here, there)


# ------------------------------------------------------------------ masks as prompts


@pytest.mark.parametrize("shape", [(16, 16), (1, 16, 16), (1, 1, 16, 16)])
def test_logits_of_the_right_size_pass_untouched(predictor: SAM2ImagePredictor, shape: tuple[int, ...]) -> None:
    logits = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    wanted = predictor.predict(mask_input=logits[None])
    assert same(predictor.predict(mask_input=logits.reshape(shape)), wanted, atol=0)


def test_a_boolean_mask_of_any_size(predictor: SAM2ImagePredictor) -> None:
    mask = np.zeros((H, W), bool)
    mask[12:36, 20:60] = True
    logits = torch.from_numpy(np.where(mask, np.float32(10), np.float32(-10)))[None, None]
    small = torch.nn.functional.interpolate(logits, (16, 16), mode="bilinear", align_corners=False, antialias=True)
    wanted = predictor.predict(mask_input=small)
    assert same(predictor.predict(mask_input=mask), wanted)
    assert same(predictor.predict(mask_input=mask.astype(np.uint8) * 255), wanted)
    assert same(predictor.predict(mask_input=logits), wanted)


def test_what_came_back_can_be_given_again(predictor: SAM2ImagePredictor) -> None:
    """Low-resolution logits as they are; masks, floats of 0 and 1 at the photo's size, as masks."""
    masks, ious, low = predictor.predict(POINT, LABEL)
    best = int(ious.argmax())
    refined = predictor.predict(POINT, LABEL, mask_input=low[best : best + 1], multimask_output=False)
    assert refined[0].shape == (1, H, W)
    a = predictor.predict(POINT, LABEL, mask_input=masks[best])
    assert same(a, predictor.predict(POINT, LABEL, mask_input=masks[best] > 0))


# ------------------------------------------------------------------ several photos


@pytest.fixture
def photos(photo: Photo) -> list[Photo]:
    rng = np.random.default_rng(1)
    return [photo, rng.integers(0, 255, (30, 40, 3), dtype=np.uint8), rng.integers(0, 255, (64, 64), dtype=np.uint8)]


def test_photos_together_equal_photos_alone(tiny_model: SAM2Base, photos: list[Photo]) -> None:
    """Photos of any sizes; prompts of any number and length: none, one, two boxes, three points."""
    points = [None, [[[5, 5]], [[9, 20]]], [[10, 10], [20, 30], [40, 50]]]
    labels = [None, [[1], [0]], [1, 0, 1]]
    boxes = [[[10, 10, 60, 40]], [[1, 1, 30, 20], [5, 5, 15, 25]], None]
    masks = [None, None, np.random.default_rng(2).normal(size=(16, 16)).astype(np.float32)]
    door = SAM2ImagePredictor(tiny_model)
    door.set_image_batch(photos)
    together = door.predict_batch(points, labels, boxes, masks)
    for i, photo in enumerate(photos):
        door.set_image(photo)
        alone = door.predict(points[i], labels[i], boxes[i], masks[i])
        assert together[0][i].shape == alone[0].shape
        assert np.allclose(together[1][i], alone[1], atol=1e-5)
        assert np.allclose(together[2][i], alone[2], atol=1e-4)
        assert np.mean(together[0][i] != alone[0]) < 1e-3


def test_many_prompts_over_photos_are_decoded_in_parts(
    tiny_model: SAM2Base, photos: list[Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    door = SAM2ImagePredictor(tiny_model)
    door.set_image_batch(photos)
    boxes = [np.array([[i, i, i + 9, i + 9] for i in range(n)]) for n in (5, 1, 4)]
    at_once = door.predict_batch(box_batch=boxes)
    monkeypatch.setattr("samphony.predict.image.PROMPTS_PER_CALL", 3)
    in_parts = door.predict_batch(box_batch=boxes)
    for a, b in zip(at_once[2], in_parts[2], strict=True):
        assert np.allclose(a, b, atol=1e-5)


def test_a_batch_of_one(tiny_model: SAM2Base, photo: Photo) -> None:
    door = SAM2ImagePredictor(tiny_model)
    door.set_image_batch([photo])
    masks, ious, low = door.predict_batch([POINT], [LABEL])
    assert (len(masks), masks[0].shape, ious[0].shape, low[0].shape) == (1, (3, H, W), (3,), (3, 16, 16))


def test_batch_calls_out_of_order(predictor: SAM2ImagePredictor, photos: list[Photo]) -> None:
    with pytest.raises(StateError, match="set_image_batch"):
        predictor.predict_batch([POINT], [LABEL])
    predictor.set_image_batch(photos)
    with pytest.raises(StateError, match="predict_batch"):
        predictor.predict(POINT, LABEL)
    with pytest.raises(PromptError, match="box_batch must have one entry for each of the 3 photos, got 1"):
        predictor.predict_batch(box_batch=[[1, 2, 3, 4]])
    with pytest.raises(PromptError, match=r"point_labels_batch\[1\]"):
        predictor.predict_batch([POINT, POINT, None], [LABEL, [7], None])
    with pytest.raises(PromptError, match="image_list is empty"):
        predictor.set_image_batch([])
    with pytest.raises(PromptError, match="image_list must be a list"):
        predictor.set_image_batch(photos[0])  # type: ignore[arg-type]


def test_an_embedding_per_photo(tiny_model: SAM2Base, photos: list[Photo]) -> None:
    door = SAM2ImagePredictor(tiny_model)
    door.set_image_batch(photos)
    together = door.get_image_embedding()
    assert together.shape == (3, 32, 4, 4)
    door.set_image(photos[1])
    assert torch.allclose(door.get_image_embedding(), together[1:2], atol=1e-5)


# ------------------------------------------------------------------ state


def test_nothing_is_predicted_before_an_image(tiny_model: SAM2Base, photo: Photo, tmp_path: Path) -> None:
    door = SAM2ImagePredictor(tiny_model)
    for call in (
        lambda: door.predict(POINT, LABEL),
        lambda: door.predict_batch([POINT], [LABEL]),
        door.get_image_embedding,
        lambda: door.save_image_embedding(tmp_path / "a.safetensors"),
    ):
        with pytest.raises(StateError, match=r"An image must be set with \.set_image"):
            call()
    door.set_image(photo)
    door.predict(POINT, LABEL)
    door.reset_predictor()
    with pytest.raises(StateError):
        door.predict(POINT, LABEL)


def test_a_picture_that_fails_leaves_nothing_half_done(predictor: SAM2ImagePredictor, tmp_path: Path) -> None:
    wanted = predictor.predict(POINT, LABEL)
    with pytest.raises(MediaError):
        predictor.set_image(tmp_path / "missing.png")
    assert same(predictor.predict(POINT, LABEL), wanted)


def test_random_weights_are_refused(tiny_config: SAM2Config, photo: Photo) -> None:
    door = SAM2ImagePredictor(build_sam2(tiny_config, device="cpu"))
    with pytest.raises(StateError, match="built without weights"):
        door.set_image(photo)
    door.model.load_state_dict(door.model.state_dict())
    door.set_image(photo)
    asked_for = SAM2ImagePredictor(build_sam2(tiny_config, device="cpu", random_weights=True))
    asked_for.set_image(photo)


def test_attributes(predictor: SAM2ImagePredictor, tiny_model: SAM2Base) -> None:
    assert predictor.model is tiny_model
    assert predictor.device == torch.device("cpu")
    assert (predictor.mask_threshold, predictor.max_hole_area, predictor.max_sprinkle_area) == (0.0, 0.0, 0.0)
    assert predictor._bb_feat_sizes == [(16, 16), (8, 8), (4, 4)]
    assert predictor._orig_hw == [(H, W)]
    assert predictor._is_image_set


# ------------------------------------------------------------------ holes and sprinkles


def test_holes_are_filled_and_sprinkles_removed_on_every_device(tiny_model: SAM2Base, photo: Photo) -> None:
    plain = SAM2ImagePredictor(tiny_model)
    clean = SAM2ImagePredictor(tiny_model, max_hole_area=10, max_sprinkle_area=10)
    logits = torch.full((1, 1, 16, 16), -5.0)
    logits[..., 2:12, 2:12] = 5.0
    logits[..., 5:7, 5:7] = -5.0  # a hole of 4
    logits[..., 14, 14] = 5.0  # a sprinkle of 1
    for door, filled in ((plain, False), (clean, True)):
        door.set_image(photo)
        masks, _, low = door._finish(logits, torch.ones(1, 1), False, 0)
        assert bool(masks[0, 0, 6 * 3, 6 * 5]) == filled
        assert bool(masks[0, 0, 14 * 3 + 1, 14 * 5 + 2]) != filled
        assert torch.equal(low, logits)  # what can be given back as mask_input stays as it was
    clean.max_hole_area = clean.max_sprinkle_area = 0
    masks, _, _ = clean._finish(logits, torch.ones(1, 1), False, 0)
    assert not bool(masks[0, 0, 6 * 3, 6 * 5])


# ------------------------------------------------------------------ embeddings on disk


@pytest.mark.parametrize("count", [1, 3])
def test_an_embedding_saved_and_loaded(tiny_model: SAM2Base, photos: list[Photo], tmp_path: Path, count: int) -> None:
    door, other = SAM2ImagePredictor(tiny_model), SAM2ImagePredictor(tiny_model)
    path = tmp_path / "photos.safetensors"
    if count == 1:
        door.set_image(photos[0])
        wanted = door.predict(POINT, LABEL)
    else:
        door.set_image_batch(photos)
        wanted = door.predict_batch([POINT] * 3, [LABEL] * 3)
    door.save_image_embedding(path)
    other.load_image_embedding(path)
    if count == 1:
        assert same(other.predict(POINT, LABEL), wanted, atol=0)
    else:
        for a, b in zip(other.predict_batch([POINT] * 3, [LABEL] * 3), wanted, strict=True):
            assert same(a, b, atol=0)


def test_an_embedding_of_another_model_is_refused(
    fresh_tiny_model: Callable[..., SAM2Base], tiny_config: SAM2Config, predictor: SAM2ImagePredictor, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    predictor.save_image_embedding(path)
    other = SAM2ImagePredictor(fresh_tiny_model(replace(tiny_config, name="other")))
    with pytest.raises(CheckpointError, match=r"made by model 'test-tiny'.*'other'"):
        other.load_image_embedding(path)
    larger = SAM2ImagePredictor(fresh_tiny_model(replace(tiny_config, image_size=96)))
    with pytest.raises(CheckpointError, match="embedding of shape"):
        larger.load_image_embedding(path)
    assert not larger._is_image_set


def test_a_file_that_is_no_embedding(predictor: SAM2ImagePredictor, tiny_model: SAM2Base, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    wanted = predictor.predict(POINT, LABEL)
    missing, foreign, damaged = (tmp_path / f"{name}.safetensors" for name in ("missing", "foreign", "damaged"))
    save_file({"a": torch.zeros(1)}, foreign)
    damaged.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    for path in (missing, foreign, damaged):
        with pytest.raises(CheckpointError, match=path.name):
            predictor.load_image_embedding(path)
    assert same(predictor.predict(POINT, LABEL), wanted, atol=0)


# ------------------------------------------------------------------ released models


def test_from_pretrained_passes_options_on(monkeypatch: pytest.MonkeyPatch, tiny_model: SAM2Base, photo: Photo) -> None:
    asked: dict[str, Any] = {}

    def build(model_id: str, **kwargs: Any) -> SAM2Base:
        asked.update(kwargs, model_id=model_id)
        return tiny_model

    monkeypatch.setattr("samphony.predict.build.build_sam2_hf", build)
    door = SAM2ImagePredictor.from_pretrained("facebook/sam2.1-hiera-tiny", device="cpu", mask_threshold=1.5)
    assert asked == {"model_id": "facebook/sam2.1-hiera-tiny", "device": "cpu", "mask_threshold": 1.5}
    assert door.mask_threshold == 1.5


def test_several_masks_without_points(predictor: SAM2ImagePredictor) -> None:
    masks = np.random.default_rng(3).normal(size=(3, 16, 16)).astype(np.float32)
    together = predictor.predict(mask_input=masks)
    assert together[0].shape == (3, 3, H, W)
    assert same([t[1] for t in together], predictor.predict(mask_input=masks[1]))
    assert predictor.predict(np.zeros((0, 2)), np.zeros(0))[0].shape == (3, H, W)
