"""Training clips: short stretches of labelled videos, and videos made of still pictures.

A made clip moves a whole picture (a drifting camera) and, over it, objects cut out of other pictures, which cross,
bend, hide, leave and return; at times two of them are twins. Little real video is needed to learn memory, occlusion and
the object score from these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from samphony.datasets.sources import IGNORE
from samphony.train.cache import CachedPicture, PictureCache
from samphony.train.paste import PASTED
from samphony.train.photos import PhotoSampler, normalise
from samphony.train.recipe import ClipRecipe, DataRecipe


@dataclass(frozen=True)
class ClipBatch:
    """K clips of T frames with O objects each, N = K·O.

    images: (T,K,3,S,S) normalised. masks, valid: (T,N,S,S) bool. Every object is there in the first frame; later it may
    be gone.
    """

    images: Tensor
    masks: Tensor
    valid: Tensor


@dataclass(frozen=True)
class RawClips:
    """Clips before they are normalised: images (T,K,3,S,S) and labels (T,K,S,S) uint8, chosen ids (K,O) uint8."""

    images: Tensor
    labels: Tensor
    ids: Tensor

    def finish(self, device: torch.device) -> ClipBatch:
        """Move to a device, then normalise and draw the masks there."""
        images, labels, ids = (t.to(device, non_blocking=True) for t in (self.images, self.labels, self.ids))
        T, K = images.shape[:2]
        masks = (labels[:, :, None] == ids[None, :, :, None, None]).flatten(1, 2)
        valid = (labels != IGNORE)[:, :, None].expand(-1, -1, ids.shape[1], -1, -1).flatten(1, 2)
        return ClipBatch(normalise(images.flatten(0, 1).float() / 255).unflatten(0, (T, K)), masks, valid)


class ClipSampler:
    """Draws clips from a cache: a function of seed, step and slot, as `PhotoSampler`."""

    def __init__(
        self,
        cache: PictureCache,
        keep: Callable[[CachedPicture], bool],
        stills: PhotoSampler,
        recipe: ClipRecipe,
        data: DataRecipe,
    ) -> None:
        self.cache, self.stills, self.recipe, self.data = cache, stills, recipe, data
        clips: dict[str, list[int]] = {}
        for i, picture in enumerate(cache.pictures):
            if picture.clip is not None and keep(picture):
                clips.setdefault(picture.clip, []).append(i)
        self.clips = [rows for rows in clips.values() if len(rows) >= recipe.frames]

    def batch(self, seed: int, step: int, size: int, slots: Sequence[int]) -> ClipBatch:
        """The clips of the named slots of a step."""
        return self.raw(seed, step, size, slots).finish(torch.device("cpu"))

    def raw(self, seed: int, step: int, size: int, slots: Sequence[int]) -> RawClips:
        """The clips of the named slots of a step before they are normalised: what is worth preparing ahead."""
        made = [self._clip(size, np.random.default_rng((seed, step, slot, 2))) for slot in slots]
        images = torch.stack([(255 * images).round().to(torch.uint8) for images, _, _ in made], dim=1)
        labels = torch.stack([labels for _, labels, _ in made], dim=1)
        return RawClips(images, labels, torch.tensor([chosen for _, _, chosen in made], dtype=torch.uint8))

    def _clip(self, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, list[int]]:
        """Frames (T,3,S,S) in 0…1, labels (T,S,S), chosen ids; tries again until something is to be tracked."""
        for _ in range(20):
            still = not self.clips or rng.random() < self.recipe.from_stills
            images, labels = self._from_still(size, rng) if still else self._from_video(size, rng)
            ids = self._choose(labels[0], rng)
            if ids:
                if rng.random() < 0.5:
                    images, labels = images.flip(-1), labels.flip(-1)
                return _drift_colour(images, rng), labels, ids
        raise RuntimeError("twenty clips in a row had no object of min_pixels in their first frame")

    def _from_video(self, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        rows = self.clips[int(rng.integers(len(self.clips)))]
        T = self.recipe.frames
        stride = int(rng.integers(1, min(self.recipe.max_stride, (len(rows) - 1) // max(T - 1, 1)) + 1))
        start = int(rng.integers(len(rows) - stride * (T - 1)))
        at = [rows[start + stride * t] for t in range(T)]
        if rng.random() < 0.5:
            at = at[::-1]
        pairs = [self._load(row, size) for row in at]
        return torch.stack([image for image, _ in pairs]), torch.stack([label for _, label in pairs])

    def _from_still(self, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        ground, *others = rng.choice(len(self.stills.rows), size=3, p=self.stills.weights)
        T = self.recipe.frames
        image, label = self._load(self.stills.rows[int(ground)], size)
        pace = float(self.recipe.pace ** rng.uniform(-1, 1))
        images, labels = _warp(image, label, _camera_path(T, pace, rng), _bending(T, size, 0.004, rng))
        pieces = int(rng.choice(3, p=(0.15, 0.45, 0.4)))
        cut: tuple[Tensor, Tensor] | None = None
        for name, other in zip(PASTED[:pieces], others[:pieces], strict=True):
            if cut is None or rng.random() < 0.5:  # else the last one again: its twin, on a path of its own
                piece, piece_label = self._load(self.stills.rows[int(other)], size)
                chosen = self._choose(piece_label, rng)
                if not chosen:
                    continue
                cut = piece, piece_label == chosen[0]
            moved, mask = _warp(
                cut[0], cut[1].to(torch.uint8), _object_path(cut[1], T, pace, rng), _bending(T, size, 0.02, rng)
            )
            on = mask.bool()
            images = torch.where(on[:, None], moved, images)
            labels = torch.where(on, torch.tensor(name, dtype=torch.uint8), labels)
        return images, labels

    def _load(self, row: int, size: int) -> tuple[Tensor, Tensor]:
        image = torch.from_numpy(np.array(self.cache.images[row])).permute(2, 0, 1)[None].float() / 255
        label = torch.from_numpy(np.array(self.cache.labels[row]))[None, None]
        image = F.interpolate(image, (size, size), mode="bilinear", align_corners=False, antialias=True)
        return image[0], F.interpolate(label, (size, size), mode="nearest")[0, 0]

    def _choose(self, labels: Tensor, rng: np.random.Generator) -> list[int]:
        counts = torch.bincount(labels.flatten().long(), minlength=256).numpy()
        counts[0] = counts[IGNORE] = 0
        ids = np.flatnonzero(counts >= 4 * self.data.min_pixels)
        if len(ids) == 0:
            return []
        weight = np.minimum(counts[ids] / labels.numel(), 0.05) ** 0.5
        wanted = self.recipe.objects
        chosen = rng.choice(ids, wanted, replace=len(ids) < wanted, p=weight / weight.sum())
        return [int(i) for i in chosen]


def _camera_path(T: int, pace: float, rng: np.random.Generator) -> Tensor:
    """Affine matrices (T,2,3) of a picture that drifts, turns and zooms a little; the first is no motion."""
    speed = pace * rng.normal(0, 1, 4) * (0.03, 0.03, 0.02, 0.025)
    matrices = []
    for t in range(T):
        x, y, turn, zoom = speed * t + rng.normal(0, 1, 4) * (0.004, 0.004, 0.003, 0.004) * (t > 0)
        matrices.append(_affine(1 - min(abs(zoom), 0.3), turn, x, y))
    return torch.stack(matrices)


def _object_path(mask: Tensor, T: int, pace: float, rng: np.random.Generator) -> Tensor:
    """Affine matrices (T,2,3) of a cut-out that crosses the picture; sometimes it is away for a while."""
    S = mask.shape[-1]
    ys, xs = torch.nonzero(mask, as_tuple=True)
    centre = (float(xs.float().mean()) / S * 2 - 1, float(ys.float().mean()) / S * 2 - 1)
    extent = float(max(int(xs.max() - xs.min()), int(ys.max() - ys.min()), 1)) / S
    scale = rng.uniform(0.15, 0.5) / extent
    start, speed = rng.uniform(-0.7, 0.7, 2), pace * rng.normal(0, 0.12, 2)
    away = range(0)
    if rng.random() < 0.3 and T > 2:
        first = int(rng.integers(1, T))
        away = range(first, min(T, first + int(rng.integers(1, 3))))
    turn, turning = rng.uniform(-0.3, 0.3), rng.normal(0, 0.06)
    matrices = []
    for t in range(T):
        at = start + speed * t + (10.0 if t in away else 0.0)
        matrices.append(_affine(1 / scale, turn + turning * t, float(at[0]), float(at[1]), centre))
    return torch.stack(matrices)


def _affine(inverse_scale: float, turn: float, x: float, y: float, centre: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """Output coordinates → input coordinates in -1…1: what was at ``centre`` comes to (x, y), scaled and turned."""
    cos, sin = inverse_scale * math.cos(turn), inverse_scale * math.sin(turn)
    return torch.tensor(
        [[cos, -sin, centre[0] - cos * x + sin * y], [sin, cos, centre[1] - sin * x - cos * y]], dtype=torch.float32
    )


def _bending(T: int, size: int, strength: float, rng: np.random.Generator) -> Tensor:
    """Smooth displacements (T,S,S,2) that wander from none in the first frame, as things that are not stiff move."""
    steps = rng.normal(0, strength, (T, 2, 4, 4)).astype(np.float32)
    steps[0] = 0
    field = F.interpolate(torch.from_numpy(steps.cumsum(0)), (size, size), mode="bicubic", align_corners=False)
    return field.permute(0, 2, 3, 1)


def _warp(image: Tensor, label: Tensor, matrices: Tensor, bending: Tensor) -> tuple[Tensor, Tensor]:
    """Move a picture (3,S,S) and its labels (S,S) along a path (T,2,3), bent by (T,S,S,2): (T,3,S,S), (T,S,S).

    Beyond the rim pictures are mirrored, labels 0.
    """
    T, S = matrices.shape[0], image.shape[-1]
    grid = F.affine_grid(matrices, [T, 3, S, S], align_corners=False) + bending
    images = F.grid_sample(
        image.expand(T, -1, -1, -1), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    wide = F.pad(label[None, None].float() + 1, (1, 1, 1, 1))  # 0 is beyond the rim
    labels = F.grid_sample(
        wide.expand(T, -1, -1, -1), grid * S / (S + 2), mode="nearest", padding_mode="zeros", align_corners=False
    )[:, 0]
    return images, (labels - 1).clamp(min=0).to(torch.uint8)


def _drift_colour(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Brightness and contrast of a whole clip, with a slow drift: (T,3,S,S)."""
    T = images.shape[0]
    time = torch.linspace(-1, 1, T)[:, None, None, None]
    gain = rng.uniform(0.8, 1.2) + rng.normal(0, 0.05) * time
    shift = rng.uniform(-0.08, 0.08) + rng.normal(0, 0.02) * time
    return ((images - 0.5) * gain + 0.5 + shift).clamp(0, 1)
