"""Prompts as people give them, checked, and as the network takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from samphony.errors import PromptError

ArrayLike = Any
"""A numpy array, a torch tensor or nested lists of numbers."""

MASK_LOGIT = 10.0
"""A boolean mask prompt becomes logits of ±10, as SAM 2 does with masks in videos."""


@dataclass(frozen=True)
class Prompts:
    """B prompts for one image.

    coords: points (B,N,2), a box's corners first, as x y in the photo's pixels (or 0…1); or None.
    labels: (B,N) int32: 1 in, 0 out, 2 and 3 the corners of a box, -1 padding.
    masks: logits (B or 1,1,4h,4w), or None.
    """

    coords: Tensor | None
    labels: Tensor | None
    masks: Tensor | None

    @property
    def batch_size(self) -> int:
        """B."""
        sizes = [t.shape[0] for t in (self.coords, self.masks) if t is not None]
        return max(sizes, default=1)


def read_prompts(
    point_coords: ArrayLike | None,
    point_labels: ArrayLike | None,
    box: ArrayLike | None,
    mask_input: ArrayLike | None,
    mask_size: tuple[int, int],
    names: tuple[str, str, str, str] = ("point_coords", "point_labels", "box", "mask_input"),
) -> Prompts:
    """Check prompts and bring them into one form.

    Args:
        point_coords: (N,2) or (B,N,2).
        point_labels: (N) or (B,N), one for each point: 1, 0, or -1 for padding (2 and 3: a box's corners).
        box: (4) or (B,4), x0 y0 x1 y1.
        mask_input: a mask of any size, logits or boolean: (H,W), (B,H,W) or (B,1,H,W).
        mask_size: (4h,4w), what the network takes.
        names: how to call the four in messages.

    Raises:
        PromptError: names the argument, what was given and what would be right.
    """
    coords, labels = _points(point_coords, point_labels, names)
    corners = _boxes(box, names[2])
    if corners is not None:
        corner_labels = torch.tensor([[2, 3]], dtype=torch.int32).expand(corners.shape[0], -1)
        if coords is None or labels is None:
            coords, labels = corners, corner_labels
        elif coords.shape[0] != corners.shape[0]:
            raise PromptError(
                f"{names[0]} holds {coords.shape[0]} prompts and {names[2]} {corners.shape[0]}: give as many, "
                f"points as (B,N,2) with boxes as (B,4)"
            )
        else:
            coords, labels = torch.cat((corners, coords), 1), torch.cat((corner_labels, labels), 1)
    masks = read_mask(mask_input, mask_size, names[3])
    if masks is not None and coords is not None and masks.shape[0] not in (1, coords.shape[0]):
        raise PromptError(
            f"{names[3]} holds {masks.shape[0]} masks for {coords.shape[0]} prompts: give one each or one"
        )
    return Prompts(coords, labels, masks)


def read_mask(mask: ArrayLike | None, size: tuple[int, int], name: str = "mask_input") -> Tensor | None:
    """A mask prompt as logits (B,1,*size).

    Boolean and integer masks become ±10 (set where not zero); floats are logits. Any other size is resized, bilinear
    with antialias; logits of the right size pass untouched. Floats of another size that are all 0 or 1 are a mask, such
    as ``predict`` returns, and not logits.
    """
    if mask is None:
        return None
    value = _tensor(mask, name)
    if value.ndim == 2:
        value = value[None]
    if value.ndim == 3:
        value = value[:, None]
    if value.ndim != 4 or value.shape[1] != 1 or value.numel() == 0:
        raise PromptError(f"{name} must be (H,W), (B,H,W) or (B,1,H,W), got {tuple(_tensor(mask, name).shape)}")
    resized = value.shape[-2:] != torch.Size(size)
    if not value.is_floating_point() or (resized and bool(((value == 0) | (value == 1)).all())):
        value = torch.where(value != 0, MASK_LOGIT, -MASK_LOGIT)
    value = value.float()
    _finite(value, name)
    if resized:
        value = F.interpolate(value, size, mode="bilinear", align_corners=False, antialias=True)
    return value


def _points(
    point_coords: ArrayLike | None, point_labels: ArrayLike | None, names: tuple[str, str, str, str]
) -> tuple[Tensor | None, Tensor | None]:
    coords_name, labels_name = names[0], names[1]
    if point_coords is None:
        if point_labels is not None:
            raise PromptError(f"{labels_name} is given without {coords_name}: give a point for each label")
        return None, None
    if point_labels is None:
        raise PromptError(f"{labels_name} must be given with {coords_name}: 1 in the object, 0 outside, one a point")
    coords, labels = _tensor(point_coords, coords_name).float(), _tensor(point_labels, labels_name)
    if coords.ndim == 2:
        coords = coords[None]
    if coords.ndim != 3 or coords.shape[-1] != 2:
        raise PromptError(
            f"{coords_name} must be (N,2) or (B,N,2), x y in pixels, got {tuple(_tensor(point_coords).shape)}"
        )
    _finite(coords, coords_name)
    if labels.ndim == 1:
        labels = labels[None]
    if labels.shape != coords.shape[:2]:
        raise PromptError(
            f"{labels_name} must hold one label for each point, {tuple(coords.shape[:2])}, "
            f"got {tuple(_tensor(point_labels).shape)}"
        )
    allowed = (labels == -1) | (labels == 0) | (labels == 1) | (labels == 2) | (labels == 3)
    if not bool(allowed.all()):
        wrong = labels[~allowed].flatten()[0].item()
        raise PromptError(
            f"{labels_name} holds {wrong:g}: a label is 1 (in), 0 (out), 2 or 3 (corner of a box) or -1 (padding)"
        )
    return coords, labels.to(torch.int32)


def _boxes(box: ArrayLike | None, name: str) -> Tensor | None:
    """(B,2,2) corners."""
    if box is None:
        return None
    boxes = _tensor(box, name).float()
    if boxes.ndim == 1:
        boxes = boxes[None]
    if boxes.ndim == 3 and boxes.shape[1:] == (1, 4):
        boxes = boxes[:, 0]
    if boxes.ndim != 2 or boxes.shape[-1] != 4 or boxes.shape[0] == 0:
        raise PromptError(f"{name} must be (4) or (B,4), x0 y0 x1 y1 in pixels, got {tuple(_tensor(box).shape)}")
    _finite(boxes, name)
    empty = (boxes[:, 0] >= boxes[:, 2]) | (boxes[:, 1] >= boxes[:, 3])
    if bool(empty.any()):
        raise PromptError(
            f"{name} must have x0 < x1 and y0 < y1, got {[round(v, 2) for v in boxes[empty][0].tolist()]}"
        )
    return boxes.reshape(-1, 2, 2)


def _tensor(value: ArrayLike, name: str = "the prompt") -> Tensor:
    if torch.is_tensor(value):
        return value.detach()
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"dtype {array.dtype}")
        return torch.from_numpy(np.ascontiguousarray(array))
    except (ValueError, TypeError) as error:
        raise PromptError(f"{name} must be an array of numbers ({error})") from None


def _finite(value: Tensor, name: str) -> None:
    if not bool(torch.isfinite(value).all()):
        raise PromptError(f"{name} holds NaN or infinite values")
