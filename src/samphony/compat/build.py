"""``sam2.build_sam.build_sam2``: our builder, and Hydra for what only a package's own configuration says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch

from samphony.compat.hydra_setup import compose_model
from samphony.errors import ConfigError
from samphony.model.base import SAM2Base
from samphony.predict import build
from samphony.predict.overrides import POSTPROCESSING, apply_overrides
from samphony.predict.ready import mark_random
from samphony.weights.load import load_weights
from samphony.weights.registry import resolve_name


def build_sam2(
    config_file: Any,
    ckpt_path: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    *,
    random_weights: bool = False,
    **kwargs: Any,
) -> SAM2Base:
    """As ``samphony.build_sam2``.

    A configuration that is no released model's, or an override of a part (``++model.image_encoder.scalp=0``), goes
    through Hydra and the official constructors where Hydra is installed.
    """
    overrides = [*(POSTPROCESSING if apply_postprocessing else ()), *hydra_overrides_extra]
    model = None if _is_known(config_file, overrides) else compose_model(config_file, overrides)
    if model is None:
        return build.build_sam2(
            config_file,
            ckpt_path,
            device,
            mode,
            hydra_overrides_extra,
            apply_postprocessing,
            random_weights=random_weights,
            **kwargs,
        )
    if ckpt_path is not None:
        load_weights(model, ckpt_path)
    elif not random_weights:
        mark_random(model)
    return model.to(build.default_device() if device is None else device).train(mode == "train")


def _is_known(config_file: Any, overrides: Sequence[str]) -> bool:
    """Whether our builder can read it without Hydra."""
    if not isinstance(config_file, str):
        return True
    try:
        apply_overrides(resolve_name(config_file), overrides)
    except ConfigError:
        return False
    return True
