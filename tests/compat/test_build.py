"""The builder that packages import as sam2.build_sam.build_sam2."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from tests.compat.official_parts import instantiate, small_config, small_model

from samphony.compat import build, hydra_setup
from samphony.errors import ConfigError, StateError
from samphony.predict.ready import require_weights


class MissingConfigError(Exception):
    """Hydra's error for a configuration that is not there."""


@pytest.fixture
def hydra(installed: None, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Hydra, of which only the calls are: the list of what ``compose`` was asked for."""
    asked: list[Any] = []
    importlib.import_module("sam2")  # which greets a Hydra that it finds

    def compose(config_name: str, overrides: list[str]) -> Any:
        asked.append((config_name, overrides))
        if config_name != "own.yaml":
            raise MissingConfigError
        return SimpleNamespace(model=small_config())

    for name, members in {
        "hydra": {"compose": compose},
        "hydra.errors": {"HydraException": MissingConfigError},
        "hydra.utils": {"instantiate": lambda tree, **_: instantiate(tree)},
        "omegaconf": {"OmegaConf": SimpleNamespace(resolve=lambda _config: None)},
    }.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(hydra_setup, "find_spec", lambda _name: True)
    return asked


def test_a_released_model_needs_no_hydra(hydra: list[Any]) -> None:
    model = build.build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", device="cpu", mode="train")
    assert model.config.name == "tiny"
    assert model.training
    assert hydra == []


def test_an_own_configuration_goes_through_hydra(hydra: list[Any], tmp_path: Path) -> None:
    weights = tmp_path / "own.pt"
    torch.save({"model": small_model().state_dict()}, weights)
    model = build.build_sam2("own.yaml", str(weights), "cpu", apply_postprocessing=False)
    assert hydra == [("own.yaml", [])]
    assert not model.training
    require_weights(model)
    model = build.build_sam2("own.yaml", device="cpu", hydra_overrides_extra=["++model.image_size=64"])
    assert hydra[1][1][-1] == "++model.image_size=64"
    assert "++model.sam_mask_decoder_extra_args.dynamic_multimask_via_stability=true" in hydra[1][1]
    with pytest.raises(StateError, match="without weights"):
        require_weights(model)


def test_what_hydra_does_not_know_either_is_our_error(hydra: list[Any]) -> None:
    with pytest.raises(ConfigError, match=r"there is no model 'other\.yaml'"):
        build.build_sam2("other.yaml", device="cpu")
    assert [name for name, _ in hydra] == ["other.yaml"]


def test_without_hydra_it_is_our_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hydra_setup, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match="trunk"):
        build.build_sam2("tiny", device="cpu", hydra_overrides_extra=["++model.image_encoder.trunk.embed_dim=16"])
