"""The only place that knows Hydra: it finds the configurations, as importing the official package arranges it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).parent / "stand_in"
"""The folder that official configuration names are relative to."""


def initialise_hydra() -> None:
    """Let ``hydra.compose("configs/sam2.1/sam2.1_hiera_t.yaml")`` work.

    Nothing is done where Hydra is not installed, or where the script has initialised it for itself.
    """
    if find_spec("hydra") is None:
        return
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    if not GlobalHydra.instance().is_initialized():
        initialize_config_dir(str(CONFIGS), version_base="1.2")


def compose_model(config_file: str, overrides: Sequence[str]) -> Any:
    """The model that Hydra makes of a configuration; None where there is no Hydra or no such configuration."""
    if find_spec("hydra") is None:
        return None
    from hydra import compose
    from hydra.errors import HydraException
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    try:
        config = compose(config_name=config_file, overrides=[f"++{text.lstrip('+')}" for text in overrides])
    except HydraException:
        return None
    OmegaConf.resolve(config)
    return instantiate(config.model, _recursive_=True)
