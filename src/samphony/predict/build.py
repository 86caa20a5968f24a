"""The builders, with official names and signatures: a configuration and weights in, a model or a predictor out."""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from samphony.errors import CheckpointError, ConfigError
from samphony.model.base import SAM2Base
from samphony.model.build import build_model
from samphony.model.config import MODELS, SAM2Config
from samphony.predict.heap import keep_freed_memory
from samphony.predict.overrides import POSTPROCESSING, VIDEO_POSTPROCESSING, apply_overrides, target_of
from samphony.predict.ready import mark_random
from samphony.weights.download import find_weights
from samphony.weights.identify import identify
from samphony.weights.load import apply_state_dict, load_state_dict, load_weights
from samphony.weights.registry import NANO_FILE, resolve_name
from samphony.weights.save import read_config

if TYPE_CHECKING:
    from samphony.predict.video.predictor import SAM2VideoPredictor

Device = str | torch.device


def default_device() -> torch.device:
    """CUDA where there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def build_sam2(
    config_file: str | SAM2Config | None,
    ckpt_path: str | os.PathLike[str] | None = None,
    device: Device | None = None,
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    *,
    random_weights: bool = False,
    **_: Any,
) -> SAM2Base:
    """Build a model for photos.

    Args:
        config_file: an official name (``configs/sam2.1/sam2.1_hiera_t.yaml``), a short one (``tiny``, ``2.0-large``,
            ``nano``), a ``SAM2Config``, or None to read the model from the weights.
        ckpt_path: weights, ``.pt`` or ``.safetensors``; loaded strictly. Without it parameters are random and the
            predictors refuse to work until a state dict is loaded; except for the nano, whose weights ship with us.
        device: ``"cpu"``, ``"cuda"``, …; by default CUDA where there is one.
        mode: ``"eval"`` or ``"train"``.
        hydra_overrides_extra: such as ``["++model.image_size=512"]``.
        apply_postprocessing: single masks that are unstable fall back to the best of three, as officially.
        random_weights: predict with random parameters.

    Raises:
        ConfigError: no such model, or an override that cannot be applied.
        CheckpointError: the weights cannot be read, or are of another model; the message says of which.
    """
    extra = [*(POSTPROCESSING if apply_postprocessing else ()), *hydra_overrides_extra]
    model, _door = _build(config_file, ckpt_path, device, mode, extra, random_weights, frozenset())
    return model


def build_sam2_video_predictor(
    config_file: str | SAM2Config | None,
    ckpt_path: str | os.PathLike[str] | None = None,
    device: Device | None = None,
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    vos_optimized: bool = False,
    *,
    random_weights: bool = False,
    **_: Any,
) -> SAM2VideoPredictor:
    """Build a predictor for videos; the arguments are those of ``build_sam2``.

    ``hydra_overrides_extra`` also takes the fields of ``VideoOptions``, and ``++model._target_=package.module.Class``
    for a subclass of ``SAM2VideoPredictor``, which is given the network as ``model`` and what else is overridden as
    keywords. ``vos_optimized`` is accepted and changes nothing: it means compilation, never other numbers.
    """
    from samphony.predict.video.options import VideoOptions
    from samphony.predict.video.predictor import SAM2VideoPredictor

    fields = frozenset(f.name for f in dataclasses.fields(VideoOptions))
    extra = [*(VIDEO_POSTPROCESSING if apply_postprocessing else ()), *hydra_overrides_extra]
    target = target_of(extra)
    is_own = target is not None and not target.startswith("sam2.sam2_video_predictor.SAM2VideoPredictor")
    made: type[SAM2VideoPredictor] = _class(target, SAM2VideoPredictor) if is_own else SAM2VideoPredictor
    model, door = _build(config_file, ckpt_path, device, mode, extra, random_weights, fields, own_settings=is_own)
    return made(model=model, **door)


def build_sam2_hf(model_id: str, **kwargs: Any) -> SAM2Base:
    """``build_sam2`` with weights that are fetched once and cached; any name that ``samphony models`` lists."""
    return build_sam2(resolve_name(model_id), find_weights(model_id), **kwargs)


def build_sam2_video_predictor_hf(model_id: str, **kwargs: Any) -> SAM2VideoPredictor:
    """``build_sam2_video_predictor`` with weights that are fetched once and cached."""
    return build_sam2_video_predictor(resolve_name(model_id), find_weights(model_id), **kwargs)


def _class(path: str | None, base: type[Any]) -> Any:
    """The subclass of ``base`` at ``package.module.Class``."""
    module, _, name = (path or "").rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"_target_={path}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(f"_target_={path} must name a subclass of {base.__name__}")
    return found


def _build(
    config_file: str | SAM2Config | None,
    ckpt_path: str | os.PathLike[str] | None,
    device: Device | None,
    mode: str,
    overrides: Sequence[str],
    random_weights: bool,
    door_fields: frozenset[str],
    own_settings: bool = False,
) -> tuple[SAM2Base, dict[str, Any]]:
    if mode not in ("eval", "train"):
        raise ConfigError(f"mode must be 'eval' or 'train', got {mode!r}")
    target = default_device() if device is None else torch.device(device)
    if target.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {str(device)!r}: this machine or this build of torch has no CUDA; use device='cpu'")
    state = None
    if config_file is None:
        if ckpt_path is None:
            raise ConfigError("give config_file, or ckpt_path to read the model from its weights")
        state = load_state_dict(ckpt_path)
        config_file = read_config(ckpt_path) or identify(state)
        if config_file is None:
            raise CheckpointError(f"{ckpt_path}: not the weights of a known model; give config_file")
    config = config_file if isinstance(config_file, SAM2Config) else resolve_name(config_file)
    if ckpt_path is None and not random_weights and config.name == "nano" and config == MODELS["nano"]:
        ckpt_path = NANO_FILE
    config, door = apply_overrides(config, overrides, door_fields, own_settings)

    if ckpt_path is None:
        model = build_model(config)
        if not random_weights:
            mark_random(model)
    else:
        with torch.device("meta"):  # no time is spent on random parameters that are overwritten
            model = build_model(config)
        model.to_empty(device="cpu")
        if state is None:
            load_weights(model, ckpt_path)
        else:
            apply_state_dict(model, state, str(ckpt_path))
    if target.type == "cpu":
        keep_freed_memory()
    return model.to(target).train(mode == "train"), door
