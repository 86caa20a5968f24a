"""Batches prepared by other processes are those that are asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from samphony.train.batches import ClipStep, PhotoStep, StepBatches
from samphony.train.cache import PictureCache
from samphony.train.clips import ClipSampler
from samphony.train.photos import PhotoSampler
from samphony.train.recipe import Recipe
from samphony.train.team import Team

CPU = torch.device("cpu")


def _batches(cache: PictureCache, recipe: Recipe, rank: int = 0, size: int = 1) -> StepBatches:
    photos = PhotoSampler(cache, lambda p: p.clip is None, recipe.data)
    clips = ClipSampler(cache, lambda p: True, photos, recipe.clips, recipe.data)
    return StepBatches(recipe, photos, clips, Team(rank, size))


def _pictures(batch: PhotoStep | ClipStep) -> torch.Tensor:
    return batch.clips.images if isinstance(batch, ClipStep) else batch.photos.images


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_other_processes_make_the_same_batches_in_order(cache: PictureCache, recipe: Recipe) -> None:
    alone = _batches(cache, recipe)
    shared = _batches(cache, replace(recipe, data=replace(recipe.data, workers=2)))
    made = list(shared.ahead(range(1, 4), CPU))
    assert [type(batch) for batch in made] == [ClipStep, PhotoStep, ClipStep]
    for step, batch in zip(range(1, 4), made, strict=True):
        assert torch.equal(_pictures(batch), _pictures(alone[step]))
        assert torch.equal(batch.draws.noise, alone[step].draws.noise)


def test_a_processor_makes_no_batch_before_it_is_asked_for(
    cache: PictureCache, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(StepBatches, "__getitem__", lambda _, step: asked.append(step) or step)
    batches = _batches(cache, recipe).ahead(range(5, 9), CPU)
    assert next(batches) == 5
    assert asked == [5]


def test_processes_of_a_team_share_a_step(cache: PictureCache, recipe: Recipe) -> None:
    whole = _batches(cache, recipe)[1]
    parts = [_batches(cache, recipe, rank, 2)[1] for rank in (0, 1)]
    assert torch.equal(_pictures(whole), torch.cat([_pictures(part) for part in parts], dim=1))
    assert torch.equal(whole.draws.noise, torch.cat([part.draws.noise for part in parts], dim=1))


def test_drawing_batches_leaves_the_random_state_alone(cache: PictureCache, recipe: Recipe) -> None:
    before = torch.get_rng_state()
    next(_batches(cache, recipe).ahead(range(1), CPU))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("step", [0, 1])
def test_all_tensors_of_a_batch_are_pinned(
    cache: PictureCache, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    pinned: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    batch = _batches(cache, recipe)[step]
    same = batch.pin_memory()
    assert type(same) is type(batch)
    parts = [*vars(batch)]
    tensors = [v for part in parts for v in vars(getattr(batch, part)).values() if isinstance(v, torch.Tensor)]
    assert {id(t) for t in pinned} == {id(t) for t in tensors}
    assert torch.equal(_pictures(same), _pictures(batch))
