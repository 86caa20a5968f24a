"""Official state dicts load strictly, with no mapping of keys."""

from __future__ import annotations

import pytest
import torch

from samphony.model.build import build_model
from samphony.model.config import MODELS
from samphony.weights.registry import WEIGHTS

Keys = dict[str, dict[str, tuple[int, ...]]]


@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_every_key_and_shape_is_official(name: str, official_keys: Keys) -> None:
    wanted = official_keys[WEIGHTS[name].official_name]
    with torch.device("meta"):
        model = build_model(MODELS[name])
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == wanted
    assert sum(p.numel() for p in model.parameters()) == WEIGHTS[name].parameters
    assert [key for key, _ in model.named_buffers() if key in wanted] == [
        "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
    ]


@pytest.mark.parametrize("name", ["tiny", "2.0-tiny"])
def test_loads_strictly(name: str, official_keys: Keys) -> None:
    model = build_model(MODELS[name])
    state = {key: torch.full(shape, 0.5) for key, shape in official_keys[WEIGHTS[name].official_name].items()}
    model.load_state_dict(state, strict=True)
    assert all(bool((value == 0.5).all()) for value in model.state_dict().values())


def test_a_seed_repeats_the_parameters_and_leaves_the_global_generator_alone() -> None:
    from tests.conftest import TINY

    before = torch.get_rng_state()
    first, second, other = (build_model(TINY, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["no_mem_embed"], other["no_mem_embed"])
