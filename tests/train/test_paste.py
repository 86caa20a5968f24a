"""Pasted objects: the mask is where the pixels are, and only whole objects are cut out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from samphony.train.cache import PictureCache
from samphony.train.paste import PASTED, paste, worth_cutting
from samphony.train.photos import PhotoSampler
from samphony.train.recipe import DataRecipe

S = 96


def _donor() -> tuple[np.ndarray, np.ndarray]:
    picture, mask = np.zeros((S, S, 3), np.uint8), np.zeros((S, S), bool)
    mask[30:60, 20:70] = True
    picture[mask] = (200, 0, 0)
    return picture, mask


def test_labels_lie_where_the_pixels_are() -> None:
    donor, mask = _donor()
    copies = set()
    for seed in range(40):
        image, labels = np.full((S, S, 3), 10, np.uint8), np.ones((S, S), np.uint8)
        paste(image, labels, donor, mask, np.random.default_rng(seed))
        on = np.isin(labels, PASTED)
        assert bool((image[on][:, 0] > 75).all())
        assert bool((image[~on][:, 0] < 140).all())
        assert set(np.unique(labels)) <= {1, *PASTED}
        copies.add(len(np.unique(labels[on])))
    assert {1, 2, 3} <= copies, "at times there are several copies"


def test_only_whole_objects_of_some_size_are_cut_out() -> None:
    labels = np.zeros((S, S), np.uint8)
    labels[40:60, 40:60] = 1
    labels[2:4, 2:4] = 2  # tiny
    labels[-30:, :30] = 3  # goes on beyond the picture
    labels[10:20, 60:80] = 255
    assert worth_cutting(labels) == [1]
    assert worth_cutting(np.ones((S, S), np.uint8)) == []


def test_a_recipe_pastes_into_its_share_of_pictures(cache: PictureCache) -> None:
    recipe = DataRecipe(objects=2, min_pixels=16, crop=0.0)
    plain = PhotoSampler(cache, lambda p: p.clip is None, recipe)
    pasted = PhotoSampler(cache, lambda p: p.clip is None, replace(recipe, paste=1.0))
    raw = pasted.raw(0, 0, 8, 64)
    found = torch.isin(raw.labels, torch.tensor(PASTED, dtype=torch.uint8)).flatten(1).any(dim=1)
    assert found.float().mean() >= 0.5
    assert bool(torch.isin(raw.ids, torch.tensor(PASTED, dtype=torch.uint8)).any()), "they are prompted"
    assert not torch.isin(plain.raw(0, 0, 8, 64).labels, torch.tensor(PASTED, dtype=torch.uint8)).any()
    assert torch.equal(raw.labels, pasted.raw(0, 0, 8, 64).labels)
    assert int(cache.labels.max()) <= 2, "the cache is not written to"
