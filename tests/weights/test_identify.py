from __future__ import annotations

import pytest
import torch

from samphony.model.base import SAM2Base
from samphony.model.config import MODELS
from samphony.weights.identify import describe_weights, identify, shapes_of
from samphony.weights.registry import WEIGHTS

Keys = dict[str, dict[str, tuple[int, ...]]]


def meta(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


@pytest.mark.parametrize("model", WEIGHTS)
def test_released_models_are_known_by_their_keys(model: str, official_keys: Keys) -> None:
    official_name = WEIGHTS[model].official_name
    state = meta(official_keys[official_name])
    assert identify(state) == model
    assert describe_weights(state) == f"weights of the model {model!r} ({official_name})"


@pytest.mark.parametrize("model", WEIGHTS)
def test_our_models_have_the_official_keys_and_shapes(model: str, official_keys: Keys) -> None:
    assert shapes_of(MODELS[model]) == official_keys[WEIGHTS[model].official_name]


def test_the_nano_is_known() -> None:
    assert identify(meta(shapes_of(MODELS["nano"]))) == "nano"


def test_parameter_counts(official_keys: Keys) -> None:
    buffers = 2 * 128  # the prompt encoder's random frequencies
    for weights in WEIGHTS.values():
        shapes = official_keys[weights.official_name].values()
        assert sum(torch.Size(shape).numel() for shape in shapes) == weights.parameters + buffers


def test_weights_of_no_released_model(tiny_model: SAM2Base) -> None:
    state = tiny_model.state_dict()
    assert identify(state) is None
    assert "Hiera of width 8 with 5 blocks" in describe_weights(state)


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (["vision_encoder.backbone.x"], "Hugging Face transformers"),
        (["layer1.weight", "fc.bias"], "no weights of SAM 2 (keys such as fc.bias, layer1.weight)"),
        (["no_mem_embed"], "another trunk"),
        ([], "none at all"),
    ],
)
def test_foreign_weights(keys: list[str], text: str) -> None:
    state = {key: torch.zeros(1, 1, 4) for key in keys}
    assert identify(state) is None
    assert text in describe_weights(state)
