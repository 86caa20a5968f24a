"""What every step of a run is given, prepared ahead by processes where a GPU trains.

A batch is a function of the recipe and its step, so preparing ahead changes nothing but the time it takes. On a
processor that also trains there is nothing to gain, and batches are made when they are asked for.
"""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from samphony.train.clip_rollout import ClipDraws
from samphony.train.clips import ClipSampler, RawClips
from samphony.train.image_rollout import Draws
from samphony.train.photos import PhotoSampler, RawPhotos
from samphony.train.recipe import Recipe, Stage
from samphony.train.team import Team

T = TypeVar("T")


class _Pinnable:
    def pin_memory(self: T) -> T:
        """The same in page-locked memory, which a GPU reads while it computes; the loader asks for it."""
        pinned: T = _pinned(self)
        return pinned


@dataclass(frozen=True)
class PhotoStep(_Pinnable):
    """Pictures of a step and the random numbers of its prompts."""

    photos: RawPhotos
    draws: Draws


@dataclass(frozen=True)
class ClipStep(_Pinnable):
    """Clips of a step and the random numbers of its prompts."""

    clips: RawClips
    draws: ClipDraws


class StepBatches(Dataset[PhotoStep | ClipStep]):
    """The batches of a run by step: this process's slots of each."""

    def __init__(self, recipe: Recipe, photos: PhotoSampler, clips: ClipSampler | None, team: Team) -> None:
        self.recipe, self.photos, self.clips, self.team = recipe, photos, clips, team

    def __getitem__(self, step: int) -> PhotoStep | ClipStep:
        recipe, stage = self.recipe, self.recipe.stage_at(step)
        seed, cells = recipe.run.seed, stage.size // 4
        if self.clips is not None and is_clip(step, stage):
            slots = self.team.slots(recipe.clips.batch)
            draws = ClipDraws.of(recipe.clips, recipe.prompts, seed, step, slots, cells)
            return ClipStep(self.clips.raw(seed, step, stage.size, slots), draws)
        slots = self.team.slots(stage.batch)
        raw = self.photos.raw(seed, step, stage.batch, stage.size, slots)
        return PhotoStep(raw, Draws.of(recipe.prompts, seed, step, slots, recipe.data.objects, cells))

    def ahead(self, steps: range, device: torch.device) -> Iterator[PhotoStep | ClipStep]:
        """The batches of ``steps`` in their order; for a GPU made by other processes, into page-locked memory."""
        workers = self.recipe.data.workers
        forks = "fork" in multiprocessing.get_all_start_methods()
        if workers is None:
            workers = max((os.cpu_count() or 1) - 1, 1) if device.type == "cuda" and forks else 0
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=steps,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            multiprocessing_context="fork" if workers and forks else None,  # the cache and the draws are shared so
            generator=torch.Generator(),
        )
        return iter(loader)


def is_clip(step: int, stage: Stage) -> bool:
    """Whether a step is a clip: steps take turns so that shares hold over any stretch."""
    return math.floor((step + 1) * stage.clips) > math.floor(step * stage.clips)


def _pinned(value: Any) -> Any:
    """A tensor, or a record with all its tensors, in page-locked memory; anything else as it is."""
    if isinstance(value, Tensor):
        return value.pin_memory()
    if not is_dataclass(value) or isinstance(value, type):
        return value
    return replace(value, **{f.name: _pinned(getattr(value, f.name)) for f in fields(value)})
