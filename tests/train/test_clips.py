"""Clips made of stills and cut from videos: masks stay on their objects, objects may leave."""

from __future__ import annotations

import pytest
import torch

from samphony.train.cache import PictureCache
from samphony.train.clips import ClipBatch, ClipSampler
from samphony.train.photos import PhotoSampler
from samphony.train.recipe import ClipRecipe, DataRecipe

DATA = DataRecipe(objects=2, min_pixels=16)


def _sampler(cache: PictureCache, stills: float, frames: int = 5) -> ClipSampler:
    photos = PhotoSampler(cache, lambda p: p.clip is None, DATA)
    recipe = ClipRecipe(frames=frames, batch=2, objects=2, from_stills=stills, max_stride=2)
    return ClipSampler(cache, lambda p: True, photos, recipe, DATA)


def _inside_is_brighter(batch: ClipBatch) -> float:
    """Share of visible masks that are brighter than their frame, as the drawn objects are."""
    objects = batch.masks.shape[1] // batch.images.shape[1]
    brightness = batch.images.mean(dim=2).repeat_interleave(objects, dim=1)  # (T,N,S,S)
    right = [
        bool(b[m].mean() > b.mean())
        for frame, masks in zip(brightness, batch.masks, strict=True)
        for b, m in zip(frame, masks, strict=True)
        if m.sum() > 60
    ]
    return sum(right) / len(right)


@pytest.mark.parametrize("stills", [0.0, 1.0])
def test_masks_stay_on_their_objects(cache: PictureCache, stills: float) -> None:
    sampler = _sampler(cache, stills)
    shares = []
    for step in range(4):
        batch = sampler.batch(0, step, 64, range(2))
        assert batch.images.shape == (5, 2, 3, 64, 64)
        assert batch.masks.shape == batch.valid.shape == (5, 4, 64, 64)
        assert bool((batch.masks[0].flatten(1).sum(1) >= 4 * DATA.min_pixels).all())
        shares.append(_inside_is_brighter(batch))
    assert sum(shares) / len(shares) > 0.9


def test_frames_of_a_made_clip_differ_and_objects_sometimes_leave(cache: PictureCache) -> None:
    sampler = _sampler(cache, 1.0)
    gone = 0
    for step in range(12):
        batch = sampler.batch(0, step, 64, range(2))
        assert not torch.equal(batch.images[0], batch.images[-1])
        gone += int((~batch.masks.flatten(2).any(dim=2)).sum())
    assert gone > 0


def test_a_clip_is_a_function_of_seed_step_and_slot(cache: PictureCache) -> None:
    sampler = _sampler(cache, 0.5)
    both = sampler.batch(0, 3, 64, range(2))
    second = sampler.batch(0, 3, 64, range(1, 2))
    assert torch.equal(both.images[:, 1:], second.images)
    assert torch.equal(both.masks[:, 2:], second.masks)
    assert not torch.equal(both.images, sampler.batch(0, 4, 64, range(2)).images)


def test_videos_shorter_than_a_clip_are_left_out(cache: PictureCache) -> None:
    assert len(_sampler(cache, 0.0, frames=6).clips) == 2
    assert _sampler(cache, 0.0, frames=7).clips == []
