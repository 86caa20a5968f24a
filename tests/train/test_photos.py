"""Batches of pictures: the same for the same step, shared out among processes, weighed by source."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from samphony.train.cache import CachedPicture, PictureCache
from samphony.train.photos import PhotoSampler, picture_weights, recolour, shrink
from samphony.train.recipe import DataRecipe, KindWeights

RECIPE = DataRecipe(objects=2, min_pixels=16)


@pytest.fixture(scope="module")
def sampler(cache: PictureCache) -> PhotoSampler:
    return PhotoSampler(cache, lambda p: p.clip is None, RECIPE)


def test_a_batch_is_a_function_of_seed_and_step(sampler: PhotoSampler) -> None:
    first, again, other = (sampler.batch(0, step, 3, 64) for step in (5, 5, 6))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.masks, again.masks)
    assert not torch.equal(first.images, other.images)


def test_processes_share_the_batch_of_one(sampler: PhotoSampler) -> None:
    whole = sampler.batch(0, 1, 4, 64)
    parts = [sampler.batch(0, 1, 4, 64, slots) for slots in (range(2), range(2, 4))]
    assert torch.equal(whole.images, torch.cat([p.images for p in parts]))
    assert torch.equal(whole.masks, torch.cat([p.masks for p in parts]))
    assert whole.names == parts[0].names + parts[1].names


def test_shapes_and_objects(sampler: PhotoSampler) -> None:
    batch = sampler.batch(0, 0, 3, 96)
    assert batch.images.shape == (3, 3, 96, 96)
    assert batch.masks.shape == batch.valid.shape == (6, 96, 96)
    assert bool((batch.masks.flatten(1).sum(1) >= RECIPE.min_pixels).all())


def test_masks_move_with_their_picture(cache: PictureCache) -> None:
    """Objects are brighter than the ground: crops and mirrors must keep mask and picture together."""
    sampler = PhotoSampler(cache, lambda p: p.clip is None, RECIPE)
    for step in range(6):
        batch = sampler.batch(1, step, 2, 64)
        brightness = batch.images.mean(dim=1).repeat_interleave(2, dim=0)
        inside = torch.stack([b[m].mean() for b, m in zip(brightness, batch.masks, strict=True)])
        assert bool((inside > brightness.flatten(1).mean(dim=1)).all())


def test_kinds_get_their_share_and_small_sources_more_than_theirs() -> None:
    def pictures(source: str, kind: str, count: int) -> list[CachedPicture]:
        return [CachedPicture(source, kind, f"{source}/{i}", None, (1,), (0.5,)) for i in range(count)]

    several = [*pictures("large", "instances", 100), *pictures("small", "instances", 4), *pictures("s", "salient", 7)]
    recipe = DataRecipe(kinds=KindWeights(instances=0.75, salient=0.25), source_power=0.5)
    weights = picture_weights(several, recipe)
    assert weights[:104].sum() == pytest.approx(0.75)
    assert weights[104:].sum() == pytest.approx(0.25)
    assert weights[:100].sum() / weights[100:104].sum() == pytest.approx((100 / 4) ** 0.5)


def test_colours_without_gains_stay(sampler: PhotoSampler) -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8))
    same = recolour(pixels, torch.ones(2, 4))
    torch.testing.assert_close(same, pixels.permute(0, 3, 1, 2) / 255, atol=1e-5, rtol=0)
    grey = recolour(pixels, torch.tensor([[1.0, 1.0, 0.0, 1.0]] * 2))
    torch.testing.assert_close(grey[:, 0], grey[:, 1])


def test_shrink_counts_shares() -> None:
    masks = torch.zeros(1, 4, 4, dtype=torch.bool)
    masks[0, :2, :1] = True
    assert shrink(masks, 2).tolist() == [[[0.5, 0.0], [0.0, 0.0]]]
