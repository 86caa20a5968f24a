"""An image predictor with a photo set, photos of several sizes, and what the tests of the image door share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from samphony import SAM2ImagePredictor
from samphony.model.base import SAM2Base

Photo = np.ndarray
H, W = 48, 80
POINT, LABEL = [[40, 24]], [1]


def same(a: Any, b: Any, atol: float = 1e-5) -> bool:
    return all(np.allclose(x, y, atol=atol) for x, y in zip(a, b, strict=True))


@pytest.fixture
def predictor(tiny_model: SAM2Base, photo: Photo) -> SAM2ImagePredictor:
    """A predictor on which the photo is set."""
    door = SAM2ImagePredictor(tiny_model)
    door.set_image(photo)
    return door


@pytest.fixture
def photos(photo: Photo) -> list[Photo]:
    rng = np.random.default_rng(1)
    return [photo, rng.integers(0, 255, (30, 40, 3), dtype=np.uint8), rng.integers(0, 255, (64, 64), dtype=np.uint8)]
