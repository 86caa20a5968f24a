"""The golden weights are, bit for bit, those the official package was run with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.golden.weights import digest, values

pytestmark = pytest.mark.golden

DIGESTS: dict[str, str] = json.loads((Path(__file__).parent / "weights_sha256.json").read_text())


def check(name: str, official_keys: dict[str, dict[str, tuple[int, ...]]]) -> None:
    seed, model = name.split("/")
    assert digest(official_keys[model], int(seed)) == DIGESTS[name]


def test_digest_of_the_smallest_model(official_keys: dict[str, dict[str, tuple[int, ...]]]) -> None:
    check("0/sam2.1_hiera_t", official_keys)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_digests(name: str, official_keys: dict[str, dict[str, tuple[int, ...]]]) -> None:
    check(name, official_keys)


def test_weights_depend_on_seed_name_and_shape_only() -> None:
    a = values("no_mem_embed", (1, 1, 8))
    assert np.array_equal(a[0, 0, :4], values("no_mem_embed", (4,)))
    assert not np.array_equal(a, values("no_mem_embed", (1, 1, 8), seed=1))
    assert not np.array_equal(a, values("no_mem_pos_enc", (1, 1, 8)))
    assert np.allclose(values("no_mem_embed", (1, 1, 8), shift=2.0), a + 2.0, atol=1e-6)
