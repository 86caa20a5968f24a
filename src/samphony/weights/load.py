"""Weights files in, state dicts out: strict, and never running what a file holds.

Read are what ``torch.save`` writes (a state dict, bare or under ``"model"``, with or without the ``module.`` of data
parallel training) and safetensors. The kind is told by the content, not the suffix. Pickles are opened with torch's
weights-only reader, which builds tensors and refuses everything else.
"""

from __future__ import annotations

import os
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samphony.errors import CheckpointError
from samphony.weights.identify import describe_weights
from samphony.weights.tensors import is_safetensors, load_tensors, read_head

_ZIP = b"PK\x03\x04"
_DATA_PARALLEL = "module."


def load_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the named tensors of a weights file, on the CPU.

    Raises:
        CheckpointError: the file is missing, empty, cut short, damaged, of another kind, or would run code when
            loaded; the message names the file, and nothing in it has been executed.
    """
    path = Path(path).expanduser()
    head = read_head(path)
    if head.startswith(_ZIP):
        return _plain_state(_load_torch(path), path)
    if is_safetensors(path):
        return _plain_state(load_tensors(path)[0], path)
    raise CheckpointError(f"{path}: not a weights file, but {_guess(head)}; expected .pt or .safetensors")


def load_weights(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Load a weights file into a model, strictly: every key present, none left over, every shape equal.

    Raises:
        CheckpointError: as ``load_state_dict``, or the weights are of another model: the message says which.
    """
    apply_state_dict(model, load_state_dict(path), str(path))


def apply_state_dict(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy a state dict into a model strictly; ``source`` names it in messages. All or nothing is copied.

    Raises:
        CheckpointError: the weights are of another model.
    """
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in state.items()}
    if wanted != given:
        raise CheckpointError(_mismatch(wanted, given, state, getattr(model, "config", None), source))
    model.load_state_dict(dict(state), strict=True)


def _load_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # torch warns, and goes on, about TorchScript archives
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        reason = _refused_name(str(error))
        raise CheckpointError(
            f"{path}: holds more than tensors{reason} and would run code when loaded; nothing was executed"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # torch's reader raises what it likes on archives that are cut short or damaged
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path}: damaged, cut short or not made by torch.save ({reason})") from error


def _refused_name(message: str) -> str:
    """The name that torch's weights-only reader refused, out of its long message."""
    found = re.search(r"GLOBAL ([\w.]+)", message)
    return f" ({found[1]})" if found else ""


def _plain_state(content: Any, path: Path) -> dict[str, Tensor]:
    """Unwrap ``{"model": …}``, drop ``module.`` and check that what is left is a state dict."""
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path}: holds {_kind(content)} instead of a state dict")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{path}: not a state dict, entry {key!r} is {_kind(value)}")
    if all(key.startswith(_DATA_PARALLEL) for key in content):
        return {key[len(_DATA_PARALLEL) :]: value for key, value in content.items()}
    return dict(content)


def _kind(value: object) -> str:
    return "an empty dict" if value == {} and isinstance(value, Mapping) else f"a {type(value).__name__}"


def _guess(head: bytes) -> str:
    """What a file that holds no weights probably is."""
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer (fetch the file itself with git lfs pull)"
    if head.lstrip()[:1] == b"<":
        return "a web page (a download that failed)"
    if head[:1] == b"\x80":
        return "a bare pickle, which could run code and was not opened"
    return "something else"


def _mismatch(
    wanted: Mapping[str, tuple[int, ...]],
    given: Mapping[str, tuple[int, ...]],
    state: Mapping[str, Tensor],
    config: Any,
    source: str,
) -> str:
    expected = f"the model {config.name!r}" if config is not None else "the model"
    missing = sorted(wanted.keys() - given.keys())
    surplus = sorted(given.keys() - wanted.keys())
    reshaped = sorted(key for key in wanted.keys() & given.keys() if wanted[key] != given[key])
    details = [
        f"{len(keys)} {what} ({keys[0]})" for keys, what in ((missing, "missing"), (surplus, "left over")) if keys
    ]
    if reshaped:
        key = reshaped[0]
        details.append(f"{len(reshaped)} of another shape ({key} is {given[key]}, not {wanted[key]})")
    return f"{source} does not fit {expected}: it holds {describe_weights(state)}. Keys: {', '.join(details)}"
