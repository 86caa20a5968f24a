"""Image embeddings on disk: written, read back, refused where they do not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.predict.conftest import LABEL, POINT, Photo, same

from samphony import SAM2ImagePredictor
from samphony.errors import CheckpointError
from samphony.model.base import SAM2Base
from samphony.model.config import SAM2Config


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
