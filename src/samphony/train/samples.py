"""Pictures of what a run sees and answers: the truth beside the last answer, with the prompts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samphony.media.overlay import draw_boxes, draw_clicks, draw_masks
from samphony.media.photo import save_photo
from samphony.train.image_rollout import RolloutResult
from samphony.train.photos import MEAN, STD, PhotoBatch


def save_samples(file: Path, batch: PhotoBatch, result: RolloutResult, count: int = 6) -> None:
    """Write rows of (truth | answer) for the first object of the first ``count`` pictures."""
    P, S = batch.images.shape[0], batch.images.shape[-1]
    objects = batch.masks.shape[0] // P
    logits = F.interpolate(result.logits[:, :1], (S, S), mode="bilinear", align_corners=False)[:, 0]
    rows = []
    for p in range(min(P, count)):
        n = p * objects
        picture = _pixels(batch.images[p])
        truth = draw_masks(picture, batch.masks[n].cpu().numpy())
        answer = draw_masks(picture, (logits[n] > 0).cpu().numpy())
        coords, labels = result.prompts.coords[n].cpu().numpy(), result.prompts.labels[n].cpu().numpy()
        if 2 in labels:
            corners = np.concatenate((coords[labels == 2][0], coords[labels == 3][0]))
            answer = draw_boxes(answer, corners[None])
        clicked = (labels == 0) | (labels == 1)
        if clicked.any():
            answer = draw_clicks(answer, coords[clicked], labels[clicked])
        rows.append(np.concatenate((truth, answer), axis=1))
    file.parent.mkdir(parents=True, exist_ok=True)
    save_photo(file, np.concatenate(rows, axis=0))


def _pixels(image: Tensor) -> NDArray[np.uint8]:
    """Normalised (3,S,S) → (S,S,3) uint8."""
    x = image.cpu() * image.new_tensor(STD).cpu()[:, None, None] + image.new_tensor(MEAN).cpu()[:, None, None]
    return (x.clamp(0, 1) * 255).byte().permute(1, 2, 0).contiguous().numpy()
