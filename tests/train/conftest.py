"""A small world to train in: noisy pictures with bright rectangles, two short clips, and a network in miniature."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from samphony.datasets.sources import Labelled
from samphony.model.base import SAM2Base
from samphony.model.build import build_model
from samphony.model.config import NANO, EfficientNetLiteConfig, MaskDecoderConfig, MemoryEncoderConfig, SAM2Config
from samphony.train.cache import PictureCache, build_cache
from samphony.train.recipe import ClipRecipe, DataRecipe, OptimRecipe, Recipe, RunRecipe, Stage

SIZE = 64

MINIATURE = replace(
    NANO,
    image_size=SIZE,
    hidden_dim=32,
    trunk=EfficientNetLiteConfig(width=0.25),
    mask_decoder=MaskDecoderConfig(num_heads=2, mlp_dim=32, iou_head_hidden_dim=16),
    memory_encoder=MemoryEncoderConfig(out_dim=8, pool=2, fuser_expansion=2),
)


@dataclass(frozen=True)
class Drawn:
    """A record that draws its picture: two rectangles; in clips they move to the right."""

    name: str
    number: int
    source: str = "drawn"
    kind: str = "instances"
    clip: str | None = None
    shift: int = 0

    def load(self) -> Labelled:
        """The picture and its labels."""
        rng = np.random.default_rng(self.number)
        image = rng.integers(0, 90, (48, 72, 3), dtype=np.uint8)
        labels = np.zeros((48, 72), dtype=np.uint8)
        for i in (1, 2):
            x, y = int(rng.integers(2, 26)) + 22 * (i - 1) + self.shift, int(rng.integers(2, 24))
            area = (slice(y, y + 20), slice(min(x, 70), x + 18))
            image[area], labels[area] = rng.integers(120, 255, 3), i
        return image, labels


def drawn_records() -> list[Drawn]:
    """Twelve photos of two sources and kinds, and two clips of six frames."""
    photos = [Drawn(f"a/{n}", n) for n in range(8)]
    photos += [Drawn(f"b/{n}", 100 + n, source="b", kind="salient") for n in range(4)]
    clips = [
        Drawn(f"clip{c}/{t}", 200 + c, source="video:x", kind="video", clip=f"clip{c}", shift=2 * t)
        for c in range(2)
        for t in range(6)
    ]
    return [*photos, *clips]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> PictureCache:
    """All drawn pictures, cached at 64 pixels."""
    folder = tmp_path_factory.mktemp("cache") / "drawn"
    return build_cache(drawn_records(), folder, SIZE, report=lambda line: pytest.fail(line))


@pytest.fixture
def cache_folder(cache: PictureCache) -> Path:
    """Where `cache` lies."""
    filename = getattr(cache.images.base, "filename", None) or getattr(cache.images, "filename", None)
    assert filename is not None
    return Path(str(filename)).parent


def miniature(config: SAM2Config = MINIATURE) -> SAM2Base:
    """A seeded small nano."""
    return build_model(config, seed=0)


@pytest.fixture
def recipe() -> Recipe:
    """A recipe for the miniature: a few steps of pictures and clips."""
    return Recipe(
        init="random",
        data=DataRecipe(cache_size=SIZE, objects=2, min_pixels=16),
        clips=ClipRecipe(frames=3, batch=2, objects=2),
        optim=OptimRecipe(warmup=1, lr=1e-3, trunk_lr=1e-3),
        stages=(Stage(steps=4, size=SIZE, batch=2, clips=0.5),),
        run=RunRecipe(checkpoint_every=1, log_every=1, validate_every=1000),
    )
