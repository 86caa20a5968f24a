"""A tiny network that is alive (masks with both signs, scores around zero), and a short moving clip."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import build_tiny
from tests.golden.weights import fill

from samphony.model.base import SAM2Base
from samphony.predict.video import SAM2VideoPredictor, VideoOptions
from samphony.predict.video.engine import Engine
from samphony.predict.video.official_helpers import OfficialHelpers


def make_clip(frames: int = 20, height: int = 48, width: int = 80, seed: int = 0) -> np.ndarray:
    """uint8 (T,H,W,3): a textured ground, a bright square that moves and a dark bar that passes in front."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(0, 90, (height, width, 3), dtype=np.uint8)
    clip = np.empty((frames, height, width, 3), np.uint8)
    for t in range(frames):
        picture = ground.copy()
        x, y = 8 + (t * 3) % (width - 30), 8 + t % (height - 28)
        picture[y : y + 18, x : x + 20] = (230, 180, 60)
        bar = (t * 5) % (width + 40) - 20
        picture[:, max(bar, 0) : max(bar + 8, 0)] = (20, 60, 30)
        clip[t] = picture
    return clip


@pytest.fixture(scope="session")
def living_model() -> SAM2Base:
    """The tiny model with weights that make masks, scores and memories vary. Read only."""
    model = build_tiny()
    fill(model)
    return model.eval()


@pytest.fixture
def exact_memories(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memories are kept in float32, for comparing ways that differ in the order of sums.

    Officially they are rounded to bfloat16, which makes a last bit into a two-hundredth where a value lies just between
    two numbers, and the frames after it make that grow.
    """
    monkeypatch.setattr(Engine, "_stored", staticmethod(lambda session, features: features))
    monkeypatch.setattr(OfficialHelpers, "_stored", staticmethod(lambda state, features: features))


@pytest.fixture
def predictor(living_model: SAM2Base) -> SAM2VideoPredictor:
    """A predictor with the official defaults."""
    return SAM2VideoPredictor(living_model)


@pytest.fixture
def repaired(living_model: SAM2Base) -> SAM2VideoPredictor:
    """A predictor on which corrections of tracked frames last."""
    return SAM2VideoPredictor(living_model, VideoOptions(add_all_frames_to_correct_as_cond=True))


@pytest.fixture
def clip() -> np.ndarray:
    """Twenty frames, 48 × 80."""
    return make_clip()
