"""The image door: prompts, official shapes and types, masks as prompts, its state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.predict.conftest import LABEL, POINT, H, Photo, W, same

from samphony import SAM2ImagePredictor
from samphony.errors import MediaError, StateError
from samphony.model.base import SAM2Base
from samphony.model.config import SAM2Config
from samphony.predict.build import build_sam2

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


def test_several_masks_without_points(predictor: SAM2ImagePredictor) -> None:
    masks = np.random.default_rng(3).normal(size=(3, 16, 16)).astype(np.float32)
    together = predictor.predict(mask_input=masks)
    assert together[0].shape == (3, 3, H, W)
    assert same([t[1] for t in together], predictor.predict(mask_input=masks[1]))
    assert predictor.predict(np.zeros((0, 2)), np.zeros(0))[0].shape == (3, H, W)


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
