"""The image door with several photos at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.predict.conftest import LABEL, POINT, H, Photo, W

from samphony import SAM2ImagePredictor
from samphony.errors import PromptError, StateError
from samphony.model.base import SAM2Base


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
