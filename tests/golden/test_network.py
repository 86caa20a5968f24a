"""Every part of the network gives the official numbers, those of the memory too, in SAM 2.0 and 2.1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from samphony.model.base import SAM2Base
from samphony.model.build import build_model
from samphony.model.features import ImageFeatures
from samphony.model.memory import PointerMemory, Recall, SpatialMemory
from samphony.model.outputs import SamHeadsOutput
from tests.golden.network import ELLIPSES, POINTS, config, fake_memory, picture, thinned
from tests.golden.weights import fill

pytestmark = pytest.mark.golden

ABSOLUTE, RELATIVE = 2e-5, 2e-5


class Reference:
    """Recorded arrays; all of them have to be compared."""

    def __init__(self, version: str) -> None:
        with np.load(Path(__file__).parent / "data" / f"network_{version}.npz") as file:
            self.arrays = {key: torch.from_numpy(file[key]) for key in file.files}
        self.seen: set[str] = set()

    def check(self, name: str, value: Tensor) -> None:
        """Compare; the limit follows the largest number of the array."""
        want = self.arrays[name]
        self.seen.add(name)
        value = thinned(value)
        limit = ABSOLUTE + RELATIVE * float(want.abs().max())
        assert value.shape == want.shape, name
        assert float((value - want).abs().max()) <= limit, name


@pytest.fixture(scope="module", params=["2.0", "2.1"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(version: str) -> SAM2Base:
    network = build_model(config(version)).eval()
    fill(network)
    return network


@pytest.fixture(scope="module")
def reference(version: str) -> Iterator[Reference]:
    stored = Reference(version)
    yield stored
    assert stored.seen == set(stored.arrays)


@pytest.fixture(scope="module")
def features(model: SAM2Base) -> ImageFeatures:
    with torch.inference_mode():
        return model.forward_image(picture())


@torch.inference_mode()
def test_every_part(model: SAM2Base, reference: Reference, features: ImageFeatures) -> None:
    """One test, so that one process loads the weights once."""
    _encoder(model, reference, features)
    _mask_heads(model, reference, features)
    position = _memory_encoder(model, reference, features)
    _memory_attention(model, reference, features, position)


def _encoder(model: SAM2Base, reference: Reference, features: ImageFeatures) -> None:
    for i, stage in enumerate(model.image_encoder.trunk(picture())):
        reference.check(f"trunk_{i}", stage)
    encoded = model.image_encoder(picture())
    for i in range(3):
        reference.check(f"level_{i}", encoded.levels[i])
        reference.check(f"position_{i}", encoded.positions[i])
    for i in range(2):
        reference.check(f"fine_{i}", features.high_res[i])


def _mask_heads(model: SAM2Base, reference: Reference, features: ImageFeatures) -> None:
    embedding = model.no_memory_embedding(features)
    for name, (points, prior, multimask) in POINTS.items():
        batch = 1 if points is None else points["point_labels"].shape[0]
        heads = model._forward_sam_heads(
            embedding.expand(batch, -1, -1, -1), points, prior, features.high_res, multimask
        )
        _check_heads(reference, name, heads)
    for name, mask in ELLIPSES.items():
        _check_heads(reference, name, model._use_mask_as_output(features.embedding, features.high_res, mask))


def _check_heads(reference: Reference, name: str, heads: SamHeadsOutput) -> None:
    low, high, ious, _, _, pointer, score = heads
    reference.check(f"{name}_low", low)
    reference.check(f"{name}_high", high[..., ::8, ::8])
    reference.check(f"{name}_iou", ious)
    reference.check(f"{name}_pointer", pointer)
    reference.check(f"{name}_score", score)


def _memory_encoder(model: SAM2Base, reference: Reference, features: ImageFeatures) -> Tensor:
    masks = ELLIPSES["mask"] * 6 - 4
    for name, score, from_points in (("clicked", 3.0, True), ("tracked", 3.0, False), ("absent", -3.0, False)):
        memory = model.encode_memory(features, masks, torch.full((1, 1), score), from_points)
        reference.check(f"memory_{name}", memory.features)
    reference.check("memory_position", memory.position)
    return memory.position


def _memory_attention(model: SAM2Base, reference: Reference, features: ImageFeatures, position: Tensor) -> None:
    """Frame 9 of 20 remembers the prompted frame 0 and the six frames before it, and the pointers of all."""
    frame, remembered = 9, (0, *range(3, 9))
    spatial = tuple(
        SpatialMemory(fake_memory(t)[0], position, t_pos=0 if t == 0 else model.num_maskmem - (frame - t))
        for t in remembered
    )
    pointers = tuple(PointerMemory(fake_memory(t)[1], offset=frame - t) for t in (0, *range(frame - 1, 1, -1)))
    recall = Recall(spatial, pointers, max_offset=15)
    reference.check("conditioned", model.condition_on_memory(features, recall))
