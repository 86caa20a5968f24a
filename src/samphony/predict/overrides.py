"""Hydra-style overrides, as scripts for the official package give them, without Hydra.

``++model.image_size=512`` changes a field of ``SAM2Config``; fields of the mask decoder and of the video options are
found by their official names. What cannot be changed here is named in an error.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from samphony.errors import ConfigError
from samphony.model.config import SAM2Config

_DECODER_FIELDS = {
    "pred_obj_scores": "pred_obj_scores",
    "use_high_res_features_in_sam": "use_high_res_features",
    "iou_prediction_use_sigmoid": "iou_prediction_use_sigmoid",
    "sam_mask_decoder_extra_args.dynamic_multimask_via_stability": "dynamic_multimask_via_stability",
    "sam_mask_decoder_extra_args.dynamic_multimask_stability_delta": "dynamic_multimask_stability_delta",
    "sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh": "dynamic_multimask_stability_thresh",
}

# What the architecture always does: accepted when an override says the same.
_FIXED: dict[str, Any] = {
    "pred_obj_scores_mlp": True,
    "use_mlp_for_obj_ptr_proj": True,
    "directly_add_no_mem_embed": True,
    "compile_image_encoder": False,
    "backbone_stride": 16,
}

POSTPROCESSING = (
    "model.sam_mask_decoder_extra_args.dynamic_multimask_via_stability=true",
    "model.sam_mask_decoder_extra_args.dynamic_multimask_stability_delta=0.05",
    "model.sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh=0.98",
)
"""What the official builders add for ``apply_postprocessing``."""

VIDEO_POSTPROCESSING = (
    *POSTPROCESSING,
    "model.binarize_mask_from_pts_for_mem_enc=true",
)


def target_of(overrides: Sequence[str]) -> str | None:
    """The class that overrides name (``++model._target_=package.module.Class``), the last one; None for none."""
    return next((str(value) for name, value in map(_parse, reversed(overrides)) if name == "_target_"), None)


def apply_overrides(
    config: SAM2Config,
    overrides: Sequence[str],
    door_fields: frozenset[str] = frozenset(),
    own_settings: bool = False,
) -> tuple[SAM2Config, dict[str, Any]]:
    """Apply overrides in order.

    Args:
        config: where to start.
        overrides: strings such as ``"++model.image_size=512"``.
        door_fields: names of options that belong to the door and not to the network.
        own_settings: what has no field here is a setting of the door's own, too.

    Returns:
        the configuration and the door's options that were named.

    Raises:
        ConfigError: an override that is malformed, unknown, or of a wrong type.
    """
    door: dict[str, Any] = {}
    for text in overrides:
        name, value = _parse(text)
        if name == "_target_":  # which class to build is decided by the builder that was called
            continue
        if name in door_fields or (own_settings and not is_setting(config, name)):
            door[name] = value
        else:
            config = apply_setting(config, name, value, f"override {text!r}", door_fields)
    return config, door


def is_setting(config: SAM2Config, name: str) -> bool:
    """Whether the network has a field of that official name."""
    return name in _FIXED or name in _DECODER_FIELDS or any(f.name == name for f in dataclasses.fields(config))


def apply_setting(
    config: SAM2Config, name: str, value: Any, said: str, also_known: frozenset[str] = frozenset()
) -> SAM2Config:
    """Change one field by its official name.

    Args:
        config: where to start.
        name: such as ``image_size`` or ``sam_mask_decoder_extra_args.dynamic_multimask_via_stability``.
        value: of the field's type.
        said: how errors call it.
        also_known: further names that the error for an unknown one lists.

    Raises:
        ConfigError: no such field, or a value of a wrong type.
    """
    fields = {f.name for f in dataclasses.fields(config)}
    if name in _FIXED and value != _FIXED[name]:
        raise ConfigError(f"{said}: samphony supports {name}={_FIXED[name]} only")
    if name in _DECODER_FIELDS:
        return dataclasses.replace(
            config, mask_decoder=_changed(config.mask_decoder, _DECODER_FIELDS[name], value, said)
        )
    if name in fields:
        changed: SAM2Config = _changed(config, name, value, said)
        return changed
    if name in _FIXED:
        return config
    known = sorted({*fields, *_DECODER_FIELDS, *also_known, *_FIXED} - {"name", "version"})
    raise ConfigError(f"{said}: there is no field {name!r}; known are {', '.join(known)}")


def _parse(text: str) -> tuple[str, Any]:
    body = text.strip().lstrip("+")
    name, equals, value = body.partition("=")
    if not equals or not name.startswith("model."):
        raise ConfigError(f"override {text!r} must look like '++model.image_size=512'")
    return name.removeprefix("model."), _value(value.strip())


def _value(text: str) -> Any:
    lowered = text.lower()
    if lowered in ("true", "false"):
        return lowered == "true"
    if lowered in ("null", "none"):
        return None
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


def _changed(config: Any, name: str, value: Any, said: str) -> Any:
    old = getattr(config, name)
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if dataclasses.is_dataclass(old) or type(value) is not type(old):
        raise ConfigError(f"{said}: {name} takes {type(old).__name__}, got {value!r}")
    try:
        return dataclasses.replace(config, **{name: value})
    except ValueError as error:
        raise ConfigError(f"{said}: {error}") from None
