"""A picture, its features, prompts and memories for tests of the conductor."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from samphony.model.base import SAM2Base
from samphony.model.config import SAM2Config
from samphony.model.features import ImageFeatures
from samphony.model.memory import PointerMemory, Recall, SpatialMemory

Fresh = Callable[[SAM2Config], SAM2Base]


@pytest.fixture
def picture() -> Tensor:
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def features(tiny_model: SAM2Base, picture: Tensor) -> ImageFeatures:
    with torch.no_grad():
        return tiny_model.forward_image(picture)


def click(x: float = 20.0, y: float = 30.0, label: int = 1, batch: int = 1) -> dict[str, Tensor]:
    return {
        "point_coords": torch.tensor([[[x, y]]]).repeat(batch, 1, 1),
        "point_labels": torch.full((batch, 1), label, dtype=torch.int32),
    }


def recall(batch: int = 1, spatial: int = 2, pointers: int = 2, seed: int = 1) -> Recall:
    generator = torch.Generator().manual_seed(seed)
    return Recall(
        tuple(
            SpatialMemory(
                torch.randn(batch, 8, 4, 4, generator=generator), torch.randn(1, 8, 4, 4, generator=generator), t
            )
            for t in range(spatial)
        ),
        tuple(PointerMemory(torch.randn(batch, 32, generator=generator), float(i + 1)) for i in range(pointers)),
        max_offset=15,
    )


def set_score(model: SAM2Base, value: float) -> None:
    """Let the decoder predict this object score, whatever it sees."""
    last = model.sam_mask_decoder.pred_obj_score_head.layers[-1]
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, value)
