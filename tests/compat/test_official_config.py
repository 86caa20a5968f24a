"""The configuration files that lie where packages look are written from our table of models."""

from __future__ import annotations

import pytest

from samphony.compat.hydra_setup import CONFIGS
from samphony.compat.official_config import official_config, to_yaml
from samphony.model.config import MODELS
from samphony.weights.registry import WEIGHTS


@pytest.mark.parametrize("name", WEIGHTS)
def test_files_are_up_to_date(name: str) -> None:
    official_name = WEIGHTS[name].official_name
    text = to_yaml(official_config(MODELS[name]))
    folder = official_name.split("_")[0]
    assert (CONFIGS / "configs" / folder / f"{official_name}.yaml").read_text() == text
    if folder == "sam2":
        assert (CONFIGS / f"{official_name}.yaml").read_text() == text


def test_values_are_written_as_yaml() -> None:
    lines = to_yaml({"a": {"b": None, "c": True, "d": 1e-6, "e": [1, 2]}}).splitlines()
    assert lines[-5:] == ["a:", "  b: null", "  c: true", "  d: 1.0e-06", "  e: [1, 2]"]
