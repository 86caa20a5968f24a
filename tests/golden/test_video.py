"""Videos give the official numbers: recorded once with the official package, see ``video_cases.py``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.golden.video_cases import CASES, build, play

STORED = Path(__file__).parents[1] / "data" / "official_video.npz"


@pytest.mark.golden
@pytest.mark.parametrize("name", CASES)
def test_official_numbers(name: str) -> None:
    case = CASES[name]
    found = play(build("samphony", case), case)
    with np.load(STORED) as stored:
        expected = {key: stored[f"{name}/{key}"] for key in found}
        assert len(expected) == sum(key.startswith(f"{name}/") for key in stored.files)
    for key, official in expected.items():
        assert np.abs(found[key] - official).max() <= 0.02 + 1e-4 * np.abs(official).max(), key
        assert ((found[key] > 0) != (official > 0)).mean() <= 2e-3, key
