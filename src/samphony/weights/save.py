"""Weights of ours as safetensors, with the configuration inside, so that a file says which model to build."""

from __future__ import annotations

import json
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from samphony.errors import CheckpointError
from samphony.model.config import SAM2Config
from samphony.weights.tensors import is_safetensors, read_metadata, save_tensors

_CONFIG = "samphony.config"


def save_weights(
    path: str | os.PathLike[str],
    model: nn.Module,
    config: SAM2Config,
    *,
    dtype: torch.dtype | None = None,
    notes: Mapping[str, str] | None = None,
) -> Path:
    """Write a model's parameters and its configuration to a safetensors file.

    Args:
        path: ends in ``.safetensors``.
        model: its state dict is written.
        config: stored as JSON in the file's metadata.
        dtype: of the floating-point tensors in the file; ``torch.float16`` halves it. As they are by default.
        notes: further strings for the metadata, such as the recipe and the number of steps.

    Raises:
        CheckpointError: the file cannot be written.
    """
    state = {
        name: tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    return save_tensors(path, state, {**(notes or {}), _CONFIG: json.dumps(asdict(config))})


def read_config(path: str | os.PathLike[str]) -> SAM2Config | None:
    """The configuration that ``save_weights`` stored in a file, or None when it holds none, as official ``.pt`` do.

    Raises:
        CheckpointError: the file is missing or damaged, or its configuration is of a later version.
    """
    stored = read_metadata(path).get(_CONFIG) if is_safetensors(path) else None
    if stored is None:
        return None
    try:
        return typing.cast(SAM2Config, _revive(SAM2Config, json.loads(stored)))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: its stored configuration does not fit this version ({error})") from error


def _revive(kind: Any, value: Any) -> Any:
    """JSON back to the frozen dataclasses of ``model.config``: tuples from lists, the trunk's class by its fields."""
    options: list[Any] = [kind] if is_dataclass(kind) else []
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(kind) if is_dataclass(option)]
    if isinstance(value, dict):
        for option in options:
            hints = typing.get_type_hints(option)
            if set(value) <= {field.name for field in fields(option)}:
                return option(**{name: _revive(hints[name], item) for name, item in value.items()})
        raise ValueError(f"unknown fields among {sorted(value)}")
    return tuple(value) if isinstance(value, list) else value
