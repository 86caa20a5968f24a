"""The closer look: where it is taken, that it answers as the crop alone does, and that all else stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from samphony.assets import SAMPLE_PHOTO
from samphony.model.base import SAM2Base
from samphony.predict import zoom
from samphony.predict.build import build_sam2
from samphony.predict.image import SAM2ImagePredictor
from samphony.predict.zoom import Window, ZoomImagePredictor, window_around

PHOTO = (300, 400)


class TestWindow:
    def test_around_an_object_with_its_surroundings(self) -> None:
        found = window_around((100, 90, 139, 119), PHOTO, 64)
        assert found == Window(left=80, top=75, width=80, height=60)

    def test_stays_in_the_photo(self) -> None:
        for box in ((0, 0, 39, 29), (360, 270, 399, 299)):
            found = window_around(box, PHOTO, 64)
            assert found is not None
            assert found.left in (0, 320)
            assert found.top in (0, 240)
            assert found.of(np.zeros((*PHOTO, 3))).shape == (60, 80, 3)

    def test_not_for_objects_that_fill_the_photo(self) -> None:
        assert window_around((100, 90, 260, 119), PHOTO, 64) is None

    def test_enlarges_no_more_than_six_times(self) -> None:
        found = window_around((100, 90, 101, 91), PHOTO, 192)
        assert found is not None
        assert min(found.width, found.height) == 32
        assert window_around((10, 9, 11, 10), (30, 40), 192) is None  # a photo that is small itself


def test_a_mask_is_enlarged_as_by_way_of_the_photo() -> None:
    ramp = torch.arange(16.0)
    mask = (ramp + 3 * ramp[:, None])[None, None]  # linear, so that interpolating twice loses nothing
    window = Window(left=120, top=90, width=80, height=60)
    whole = F.interpolate(mask, PHOTO, mode="bilinear", align_corners=False)
    want = F.interpolate(window.of(whole), (16, 16), mode="bilinear", align_corners=False)
    torch.testing.assert_close(zoom._enlarged(mask, window, PHOTO), want, atol=1e-3, rtol=0)
    torch.testing.assert_close(zoom._enlarged(mask, Window(0, 0, 400, 300), PHOTO), mask, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def nano() -> SAM2Base:
    return build_sam2("nano", device="cpu")


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """The sample cat, small, on a plain ground: (720,960,3)."""
    canvas = np.full((720, 960, 3), (96, 128, 80), np.uint8)
    canvas[300:410, 500:648] = np.array(Image.open(SAMPLE_PHOTO).convert("RGB").resize((148, 110)))
    return canvas


BOX = [515.0, 305.0, 640.0, 405.0]


def test_answers_as_the_crop_alone(nano: SAM2Base, scene: np.ndarray) -> None:
    predictor = ZoomImagePredictor(nano)
    predictor.set_image(scene)
    logits, ious, low_res = predictor.predict(box=BOX, multimask_output=False, return_logits=True)
    window = window_around(BOX, (720, 960), nano.image_size)
    assert window is not None
    alone = SAM2ImagePredictor(nano)
    alone.set_image(np.ascontiguousarray(window.of(scene)))
    corner = np.array([window.left, window.top] * 2)
    want, want_ious, _ = alone.predict(box=BOX - corner, multimask_output=False, return_logits=True)
    np.testing.assert_allclose(window.of(logits[0]), want[0], atol=1e-4)
    np.testing.assert_allclose(ious, want_ious, atol=1e-5)
    assert (np.delete(logits[0], np.s_[window.top : window.top + window.height], axis=0) == -32).all()
    assert low_res.shape == (1, *nano.sam_prompt_encoder.mask_input_size)
    assert 0 < (low_res > 0).mean() < 0.05


def test_several_prompts_each_get_their_own(nano: SAM2Base, scene: np.ndarray) -> None:
    predictor = ZoomImagePredictor(nano)
    predictor.set_image(scene)
    boxes = np.array([BOX, [0, 0, 950, 710]])
    masks, ious, low_res = predictor.predict(box=boxes, multimask_output=False)
    small = predictor.predict(box=BOX, multimask_output=False)
    large = super(ZoomImagePredictor, predictor).predict(box=boxes[1], multimask_output=False)
    for i, alone in enumerate((small, large)):
        assert (masks[i] != alone[0]).mean() < 1e-4
        np.testing.assert_allclose(ious[i], alone[1], atol=1e-4)
        np.testing.assert_allclose(low_res[i], alone[2], atol=1e-2)


def test_clicks_and_masks_go_on(nano: SAM2Base, scene: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second click with the first answer is also looked at closer, with what of them lies in the window."""
    looked: list[Any] = []
    look = zoom._look
    monkeypatch.setattr(zoom, "_look", lambda *args: looked.append(args[1]) or look(*args))
    predictor = ZoomImagePredictor(nano)
    predictor.set_image(scene)
    masks, ious, low_res = predictor.predict([[575, 350]], [1])
    assert masks.shape == (3, 720, 960)
    best = int(ious.argmax())
    again, _, _ = predictor.predict(
        [[575, 350], [20, 20]], [1, 0], mask_input=low_res[best : best + 1], multimask_output=False
    )
    assert len(looked) == 2
    inside = np.zeros((720, 960), bool)
    inside[300:410, 500:648] = True
    assert again[0][inside].mean() > 0.2
    assert again[0][~inside].sum() < 200


def test_what_is_the_same_as_without(nano: SAM2Base, scene: np.ndarray) -> None:
    plain, closer = SAM2ImagePredictor(nano), ZoomImagePredictor(nano)
    for predictor in (plain, closer):
        predictor.set_image(scene)
    unit = np.array([BOX[:2], BOX[2:]]) / [960, 720]
    scaled = closer.predict(unit, [2, 3], multimask_output=False, normalize_coords=False)
    np.testing.assert_allclose(scaled[1], closer.predict(box=BOX, multimask_output=False)[1], atol=1e-5)
    for a, b in zip(plain.predict(), closer.predict(), strict=True):  # no prompt: nowhere to look
        np.testing.assert_array_equal(a, b)
    closer.reset_predictor()
    assert closer._picture is None
    assert plain.get_image_embedding().shape == (1, 128, *nano.sam_prompt_encoder.image_embedding_size)


def test_a_loaded_embedding_has_no_photo(nano: SAM2Base, scene: np.ndarray, tmp_path: Path) -> None:
    plain, closer = SAM2ImagePredictor(nano), ZoomImagePredictor(nano)
    plain.set_image(scene)
    plain.save_image_embedding(tmp_path / "photo.safetensors")
    closer.set_image(scene[::-1].copy())  # another photo, which must not be looked at
    closer.load_image_embedding(tmp_path / "photo.safetensors")
    for a, b in zip(plain.predict(box=BOX), closer.predict(box=BOX), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
