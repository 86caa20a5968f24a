"""Checkpoints of a run: everything that the next step depends on, written whole or not at all."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samphony.errors import CheckpointError
from samphony.train.optim import MovingAverage


@dataclass
class TrainState:
    """What changes during a run. Data, prompts and dropout are functions of ``step`` alone: it is their position."""

    step: int
    seconds: float
    """Time spent training, over all sittings."""
    pictures: int
    best: float
    """Best validation score so far."""


def save_state(
    file: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: MovingAverage,
    state: TrainState,
    recipe: dict[str, Any],
) -> None:
    """Write a checkpoint atomically: beside its place, flushed, then renamed."""
    content = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.state_dict(),
        "state": vars(state),
        "recipe": recipe,
    }
    partial = file.with_name(file.name + ".partial")
    with partial.open("wb") as stream:
        torch.save(content, stream)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)


def load_state(file: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: MovingAverage) -> TrainState:
    """Restore a run in place. Raises CheckpointError when the file is damaged or of another run."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        model.load_state_dict(content["model"])
        optimizer.load_state_dict(_with_base_rates(content["optimizer"], optimizer))
        average.load_state_dict(content["average"])
        return TrainState(**content["state"])
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{file} cannot be resumed with this recipe: {error}") from error


def averaged_weights(model: nn.Module, average: MovingAverage) -> dict[str, Tensor]:
    """The model's state dict with the averaged parameters in it."""
    state = {name: value.detach().clone() for name, value in model.state_dict().items()}
    state.update({name: value.clone() for name, value in average.state_dict().items()})
    return state


def _with_base_rates(saved: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The saved optimiser state under the recipe's rates, so that a run can be resumed with other ones."""
    groups = saved["param_groups"]
    if len(groups) != len(optimizer.param_groups):
        raise ValueError(f"{len(groups)} parameter groups were saved, the recipe makes {len(optimizer.param_groups)}")
    for old, new in zip(groups, optimizer.param_groups, strict=True):
        old["base_lr"], old["weight_decay"] = new["base_lr"], new["weight_decay"]
    return saved
