"""Batches of training pictures: drawn, cropped, mirrored, recoloured.

A batch is a function of seed and step alone, and a slot of it of seed, step and slot: a resumed run sees what it would
have seen, and several processes that share the slots of a batch see what one would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from samphony.datasets.sources import IGNORE
from samphony.train.cache import CachedPicture, PictureCache
from samphony.train.paste import paste, worth_cutting
from samphony.train.recipe import DataRecipe

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class PhotoBatch:
    """P pictures with O objects each.

    images: (P,3,S,S) normalised. masks: (P·O,S,S) bool, the objects of a picture together. valid: (P·O,S,S) bool, False
    where the label is *ignore*. names: of the pictures.
    """

    images: Tensor
    masks: Tensor
    valid: Tensor
    names: tuple[str, ...]


@dataclass(frozen=True)
class RawPhotos:
    """A batch before it is coloured: images (P,S,S,3) uint8, labels (P,S,S), ids (P,O), colour gains (P,4)."""

    images: Tensor
    labels: Tensor
    ids: Tensor
    gains: Tensor
    names: tuple[str, ...]

    def finish(self, device: torch.device) -> PhotoBatch:
        """Move to a device, then recolour and draw the masks there."""
        images, labels = (x.to(device, non_blocking=True) for x in (self.images, self.labels))
        ids, gains = self.ids.to(device, non_blocking=True), self.gains.to(device, non_blocking=True)
        masks = (labels[:, None] == ids[:, :, None, None]).flatten(0, 1)
        valid = (labels != IGNORE)[:, None].expand(-1, ids.shape[1], -1, -1).flatten(0, 1)
        return PhotoBatch(normalise(recolour(images, gains)), masks, valid, self.names)


class PhotoSampler:
    """Draws batches from a cache by kind, source and picture."""

    def __init__(self, cache: PictureCache, keep: Callable[[CachedPicture], bool], recipe: DataRecipe) -> None:
        self.cache = cache
        self.recipe = recipe
        smallest = recipe.min_pixels / cache.size**2
        self.rows = [i for i, p in enumerate(cache.pictures) if keep(p) and any(a >= smallest for a in p.areas)]
        self.weights = picture_weights([cache.pictures[i] for i in self.rows], recipe)

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, seed: int, step: int, count: int, size: int, slots: Sequence[int] | None = None) -> PhotoBatch:
        """The batch of a step: ``count`` pictures of ``size``, or only the named ``slots`` of it."""
        return self.raw(seed, step, count, size, slots).finish(torch.device("cpu"))

    def raw(self, seed: int, step: int, count: int, size: int, slots: Sequence[int] | None = None) -> RawPhotos:
        """The batch of a step before it is coloured: what is worth preparing ahead."""
        rows = np.random.default_rng((seed, step)).choice(len(self.rows), size=count, p=self.weights)
        mine = range(count) if slots is None else slots
        items = [self._item(self.rows[rows[s]], size, np.random.default_rng((seed, step, s))) for s in mine]
        return RawPhotos(
            images=torch.from_numpy(np.stack([image for image, _, _, _ in items])),
            labels=torch.from_numpy(np.stack([label for _, label, _, _ in items])),
            ids=torch.tensor([chosen for _, _, chosen, _ in items], dtype=torch.uint8),
            gains=torch.from_numpy(np.stack([gain for _, _, _, gain in items])),
            names=tuple(self.cache.pictures[self.rows[rows[s]]].name for s in mine),
        )

    def _item(
        self, row: int, size: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[int], NDArray[np.float32]]:
        """Picture (S,S,3), labels (S,S), chosen ids, colour gains (4,)."""
        picture = self.cache.pictures[row]
        box = whole = (0.0, 0.0, float(self.cache.size), float(self.cache.size))
        if rng.random() < self.recipe.crop:
            box = self._crop(row, picture, rng)
        labels = _resize(self.cache.labels[row], size, box, Image.Resampling.NEAREST)
        if box != whole and not self._choose(labels, rng):
            box = whole
            labels = _resize(self.cache.labels[row], size, box, Image.Resampling.NEAREST)
        image = _resize(self.cache.images[row], size, box, Image.Resampling.BILINEAR)
        if rng.random() < self.recipe.paste:
            self._paste(image, labels, rng)
        ids = self._choose(labels, rng)
        if not ids:  # every object is tiny at this size: take the largest
            largest = int(np.argmax(picture.areas))
            ids = [picture.ids[largest]] * self.recipe.objects
        if rng.random() < 0.5:
            image, labels = image[:, ::-1], labels[:, ::-1]
        gains = rng.uniform((0.75, 0.75, 0.6, 0.8), (1.25, 1.25, 1.4, 1.25)).astype(np.float32)
        if rng.random() < 0.05:
            gains[2] = 0.0
        return np.ascontiguousarray(image), np.ascontiguousarray(labels), ids, gains

    def _paste(self, image: NDArray[np.uint8], labels: NDArray[np.uint8], rng: np.random.Generator) -> None:
        """Lay an object of another picture over this one; a few tries, since not every picture has one to cut out."""
        size = image.shape[0]
        for row in rng.choice(len(self.rows), size=3, p=self.weights):
            at = self.rows[row]
            if self.cache.pictures[at].kind not in ("instances", "salient", "video"):
                continue  # regions and parts are no things of their own
            theirs = _resize(self.cache.labels[at], size, None, Image.Resampling.NEAREST)
            ids = worth_cutting(theirs)
            if ids:
                donor = _resize(self.cache.images[at], size, None, Image.Resampling.BILINEAR)
                paste(image, labels, donor, theirs == ids[int(rng.integers(len(ids)))], rng)
                return

    def _crop(self, row: int, picture: CachedPicture, rng: np.random.Generator) -> Box:
        """A window around one object, between a little more than the object and the whole picture."""
        labels = self.cache.labels[row]
        S = self.cache.size
        chosen = picture.ids[int(rng.integers(len(picture.ids)))]
        ys, xs = np.nonzero(labels == chosen)
        extent = max(int(np.ptp(xs)), int(np.ptp(ys))) + 1
        least = min(max(1.2 * extent / S, 0.3), 1.0)
        side = S * rng.uniform(least, 1.0)
        w, h = (min(S, side * f) for f in (rng.uniform(0.85, 1.18), rng.uniform(0.85, 1.18)))
        at = int(rng.integers(len(xs)))
        x0 = float(np.clip(xs[at] - rng.uniform(0.2, 0.8) * w, 0, S - w))
        y0 = float(np.clip(ys[at] - rng.uniform(0.2, 0.8) * h, 0, S - h))
        return x0, y0, x0 + w, y0 + h

    def _choose(self, labels: NDArray[np.uint8], rng: np.random.Generator) -> list[int]:
        """Ids to prompt: large ones a little more often than small ones; with repetition only if there are too few."""
        counts = np.bincount(labels.ravel(), minlength=256)
        counts[0] = counts[IGNORE] = 0
        ids = np.flatnonzero(counts >= self.recipe.min_pixels)
        if len(ids) == 0:
            return []
        weight = np.minimum(counts[ids] / labels.size, 0.02) ** 0.5
        wanted = self.recipe.objects
        few = len(ids) < wanted
        chosen = [int(i) for i in rng.permutation(ids)] if few else []
        chosen += [int(i) for i in rng.choice(ids, wanted - len(chosen), replace=few, p=weight / weight.sum())]
        return chosen


def picture_weights(pictures: Sequence[CachedPicture], recipe: DataRecipe) -> NDArray[np.float64]:
    """Probability of each picture: kinds by their share, sources by a power of their size, pictures equally."""
    counts: dict[tuple[str, str], int] = {}
    for picture in pictures:
        key = (picture.kind, picture.source)
        counts[key] = counts.get(key, 0) + 1
    pull = {key: n**recipe.source_power * recipe.sources.get(key[1], 1.0) for key, n in counts.items()}
    total = {kind: sum(w for (k, _), w in pull.items() if k == kind) for kind, _ in pull}
    weights = np.array(
        [
            getattr(recipe.kinds, p.kind) * pull[p.kind, p.source] / total[p.kind] / counts[p.kind, p.source]
            for p in pictures
        ]
    )
    return weights / weights.sum()


def recolour(images: Tensor, gains: Tensor) -> Tensor:
    """uint8 (P,S,S,3) → float (P,3,S,S) in 0…1 with brightness, contrast, saturation and gamma ``gains`` (P,4)."""
    x = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last) / 255
    brightness, contrast, saturation, gamma = gains.T[:, :, None, None, None].unbind()
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * saturation
    middle = x.mean(dim=(1, 2, 3), keepdim=True)
    x = (middle + (x - middle) * contrast) * brightness
    return x.clamp(0, 1).pow(gamma)


def normalise(x: Tensor) -> Tensor:
    """0…1 (P,3,S,S) → normalised as the predictors do."""
    mean, std = x.new_tensor(MEAN)[:, None, None], x.new_tensor(STD)[:, None, None]
    return ((x - mean) / std).contiguous(memory_format=torch.channels_last)


def shrink(masks: Tensor, factor: int) -> Tensor:
    """Bool (N,S,S) → share of True in each cell, float (N,S/factor,S/factor)."""
    return F.avg_pool2d(masks[:, None].float(), factor)[:, 0]


def _resize(array: NDArray[np.uint8], size: int, box: Box | None, how: Image.Resampling) -> NDArray[np.uint8]:
    return np.array(Image.fromarray(array).resize((size, size), how, box=box))
