from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

import samphony.segmentation as door
from samphony.assets import SAMPLE_PHOTO
from samphony.errors import ConfigError, MediaError, PromptError
from samphony.media.masks import load_mask
from samphony.media.photo import load_photo
from samphony.model.base import SAM2Base
from samphony.model.config import SAM2Config
from samphony.predict import zoom
from samphony.predict.image import SAM2ImagePredictor
from samphony.segmentation import Segmentation, segment
from samphony.weights.save import save_weights


def test_one_click_takes_the_best_of_three(tiny_model: SAM2Base, photo: np.ndarray) -> None:
    result = segment(photo, points=[(40, 24)], model=tiny_model, min_area=0)
    assert result.masks.shape == (1, 48, 80)
    assert result.masks.dtype == bool
    assert result.low_res_logits.shape == (1, 16, 16)
    predictor = SAM2ImagePredictor(tiny_model)
    predictor.set_image(photo)
    masks, ious, logits = predictor.predict(np.array([(40, 24)]), np.array([1]))
    best = int(ious.argmax())
    np.testing.assert_array_equal(result.masks[0], masks[best] > 0)
    assert result.scores[0] == ious[best]
    np.testing.assert_array_equal(result.low_res_logits[0], logits[best])


def test_candidates_come_best_first(tiny_model: SAM2Base, photo: np.ndarray) -> None:
    result = segment(photo, points=[(40, 24)], model=tiny_model, candidates=True)
    assert len(result) == 3
    assert (np.diff(result.scores) <= 0).all()


def test_a_single_mask_for_clear_prompts(tiny_model: SAM2Base, photo: np.ndarray) -> None:
    result = segment(photo, points=[(40, 24), (5, 5)], labels=[1, 0], model=tiny_model, min_area=0)
    predictor = SAM2ImagePredictor(tiny_model)
    predictor.set_image(photo)
    masks, _, _ = predictor.predict(np.array([(40, 24), (5, 5)]), np.array([1, 0]), multimask_output=False)
    np.testing.assert_array_equal(result.masks, masks > 0)
    assert result.labels.tolist() == [1, 0]


def test_shown_masks_are_tidy_but_for_what_was_clicked(
    tiny_model: SAM2Base, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    speckled = np.zeros((2, 1, 48, 80), np.float32)  # two objects
    speckled[:, 0, 10:40, 10:60] = 1
    speckled[:, 0, 20, 20] = 0
    speckled[:, 0, 4, 70] = speckled[:, 0, 6, 74] = 1
    answer = (speckled, np.ones((2, 1), np.float32), np.zeros((2, 1, 16, 16), np.float32))
    monkeypatch.setattr(SAM2ImagePredictor, "predict", lambda self, **prompts: answer)
    clicks = {"points": [[(70, 4), (30, 30)], [(74, 6), (20, 20)]], "labels": [[1, 1], [1, 0]]}

    first, second = segment(photo, model=tiny_model, zoom=False, **clicks).masks  # type: ignore[arg-type]
    assert (first[4, 70], first[6, 74], first[20, 20]) == (True, False, True)
    assert (second[4, 70], second[6, 74], second[20, 20]) == (False, True, False)
    raw = segment(photo, model=tiny_model, min_area=0, zoom=False, **clicks)  # type: ignore[arg-type]
    np.testing.assert_array_equal(raw.masks, speckled[:, 0] > 0)


BOXES = [(24, 12, 56, 36), (0, 0, 20, 20)]


@pytest.mark.parametrize(
    ("prompts", "count"),
    [
        ({"boxes": BOXES[0]}, 1),
        ({"boxes": BOXES[:1]}, 1),
        ({"boxes": BOXES}, 2),
        ({"boxes": BOXES[0], "points": [(40, 24)]}, 1),
        ({"boxes": BOXES, "points": [[(40, 24)], [(5, 5)]]}, 2),
        ({"points": (40, 24)}, 1),
        ({"points": [[(40, 24)], [(5, 5)], [(1, 1)]]}, 3),
        ({"mask": np.ones((48, 80), bool)}, 1),
    ],
)
def test_prompts(tiny_model: SAM2Base, photo: np.ndarray, prompts: dict[str, object], count: int) -> None:
    result = segment(photo, model=tiny_model, **prompts)  # type: ignore[arg-type]
    assert result.masks.shape == (count, 48, 80)
    assert result.scores.shape == (count,)
    assert result.boxes.shape == (count, 4)
    assert result.low_res_logits.shape == (count, 16, 16)


def test_low_res_logits_refine(tiny_model: SAM2Base, photo: np.ndarray) -> None:
    first = segment(photo, points=[(40, 24)], model=tiny_model)
    more = {"points": [(40, 24), (5, 5)], "labels": [1, 0]}
    refined = segment(photo, mask=first.low_res_logits[0], model=tiny_model, **more)  # type: ignore[arg-type]
    fresh = segment(photo, model=tiny_model, **more)  # type: ignore[arg-type]
    assert np.abs(refined.low_res_logits - fresh.low_res_logits).max() > 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, PromptError, "at least one of points, boxes and mask"),
        ({"points": [(1, 2), (3,)]}, PromptError, "points must be numbers"),
        ({"points": [(1, 2)], "labels": [1, 0]}, PromptError, "label"),
        ({"labels": [1], "boxes": BOXES[0]}, PromptError, "point"),
        ({"boxes": (9, 9, 3, 3)}, PromptError, "box"),
        ({"points": [(1, 2)], "min_area": 40}, PromptError, "min_area must be a share"),
        ({"points": [(1, 2)], "photo": "nowhere.jpg"}, MediaError, "nowhere.jpg"),
        ({"points": [(1, 2)], "model": "tinny"}, ConfigError, "tinny"),
    ],
)
def test_bad_input(
    tiny_model: SAM2Base, photo: np.ndarray, arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        segment(**{"photo": photo, "model": tiny_model, **arguments})  # type: ignore[arg-type]


def test_a_weights_file_says_which_model_it_is(
    tmp_path: Path, tiny_model: SAM2Base, tiny_config: SAM2Config, photo: np.ndarray
) -> None:
    path = save_weights(tmp_path / "mine.safetensors", tiny_model, tiny_config)
    door._named_model.cache_clear()
    for _ in range(2):
        result = segment(photo, points=[(40, 24)], model=path, device="cpu")
    np.testing.assert_array_equal(result.masks, segment(photo, points=[(40, 24)], model=tiny_model).masks)
    assert door._named_model.cache_info().hits == 1
    assert door._named_model.cache_info().maxsize == 1
    door._named_model.cache_clear()


def test_small_models_look_twice_unless_told_otherwise(
    tiny_model: SAM2Base, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []
    look = zoom._look
    monkeypatch.setattr(zoom, "_look", lambda *args: looks.append(args) or look(*args))
    small: dict[str, Any] = {"photo": np.tile(photo, (4, 4, 1)), "boxes": (24, 12, 56, 36), "model": tiny_model}
    segment(**small)
    assert len(looks) == 1
    segment(**small, zoom=False)
    assert len(looks) == 1
    monkeypatch.setattr(door, "_SMALL_INPUT", tiny_model.image_size)
    segment(**small)
    assert len(looks) == 1
    segment(**small, zoom=True)
    assert len(looks) == 2


def test_bgr_and_floats(tiny_model: SAM2Base, photo: np.ndarray) -> None:
    expected = segment(photo, boxes=BOXES[0], model=tiny_model)
    turned = segment(photo[:, :, ::-1], boxes=BOXES[0], model=tiny_model, channel_order="bgr")
    floats = segment(photo / 255, boxes=BOXES[0], model=tiny_model)
    for result in (turned, floats):
        np.testing.assert_array_equal(result.image, photo)
        np.testing.assert_array_equal(result.low_res_logits, expected.low_res_logits)


@pytest.fixture
def result(photo: np.ndarray) -> Segmentation:
    masks = np.zeros((2, 48, 80), bool)
    masks[0, 12:36, 24:56] = True
    return Segmentation(
        image=photo,
        masks=masks,
        scores=np.array([0.9, 0.1], np.float32),
        low_res_logits=np.zeros((2, 16, 16), np.float32),
        name="square",
        points=np.array([(40, 24)], np.float32),
        labels=np.array([1], np.int32),
        prompt_boxes=np.array([(20, 10, 60, 40)], np.float32),
    )


def test_overlay_shows_masks_and_prompts(result: Segmentation) -> None:
    shown, plain = result.overlay(), result.overlay(prompts=False)
    assert (plain[~result.masks[0]] == result.image[~result.masks[0]]).all()
    assert (plain[20, 30] != result.image[20, 30]).any()
    assert (shown[10, 20:61] == 255).all(), "the box, white"
    assert (shown[24, 40] == 255).all(), "the click's plus"


def test_cutout(result: Segmentation) -> None:
    assert result.cutout().shape == result.cutout(0).shape == (24, 32, 4)
    assert result.cutout(1).shape == (48, 80, 4), "empty: the whole picture"
    assert result.cutout(0, crop=False).shape == (48, 80, 4)


def test_save_writes_what_it_says(tmp_path: Path, result: Segmentation) -> None:
    files = result.save(tmp_path / "out")
    assert sorted(path.name for path in files) == [
        "square.json",
        "square_cutout.png",
        "square_mask_1.png",
        "square_mask_2.png",
        "square_overlay.png",
    ]
    assert sorted(files) == sorted((tmp_path / "out").iterdir())
    np.testing.assert_array_equal(load_mask(tmp_path / "out" / "square_mask_1.png"), result.masks[0])
    np.testing.assert_array_equal(load_photo(tmp_path / "out" / "square_overlay.png"), result.overlay())
    with Image.open(tmp_path / "out" / "square_cutout.png") as picture:
        assert picture.mode == "RGBA"


def test_save_only_some(tmp_path: Path, result: Segmentation) -> None:
    assert [path.name for path in result.save(tmp_path, ["json"])] == ["square.json"]
    with pytest.raises(PromptError, match="got gif"):
        result.save(tmp_path, ["gif"])
    (tmp_path / "file").touch()
    with pytest.raises(MediaError, match="cannot write"):
        result.save(tmp_path / "file", ["json"])


def test_coco_json_is_read_by_pycocotools(tmp_path: Path, result: Segmentation) -> None:
    (path,) = result.save(tmp_path, ["json"])
    coco = COCO(str(path))
    first, second = coco.loadAnns(coco.getAnnIds())
    np.testing.assert_array_equal(coco.annToMask(first), result.masks[0])
    assert (first["area"], first["bbox"]) == (24 * 32, [24, 12, 32, 24])
    assert (second["area"], second["bbox"]) == (0, [0, 0, 0, 0])
    assert first["score"] == pytest.approx(0.9)
    assert json.loads(path.read_text())["images"][0]["width"] == 80


def test_photo_path_gives_the_name(tiny_model: SAM2Base) -> None:
    assert segment(SAMPLE_PHOTO, points=[(10, 10)], model=tiny_model).name == "cat"
