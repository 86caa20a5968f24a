"""``sam2.utils.amg`` on tensors, over our mask tools."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from samphony.media.masks import (
    BoolArray,
    Rle,
    decode_rle,
    encode_rle,
    encode_rle_uncompressed,
    label_components,
    mask_boxes,
    small_components,
)
from samphony.predict.automatic.crops import EDGE_TOLERANCE, make_crops

Boxes = TypeVar("Boxes", Tensor, npt.NDArray[Any])


def mask_to_rle_pytorch(tensor: Tensor) -> list[Rle]:
    """Masks (N,H,W) → their uncompressed run-length codes."""
    return [encode_rle_uncompressed(mask) for mask in _bool(tensor)]


def rle_to_mask(rle: Rle) -> BoolArray:
    """Uncompressed run-length code → (H,W) bool."""
    return decode_rle(rle)


def area_from_rle(rle: Rle) -> int:
    """Set pixels of an uncompressed run-length code."""
    counts = rle["counts"]
    assert not isinstance(counts, str)
    return sum(counts[1::2])


def coco_encode_rle(uncompressed_rle: Rle) -> Rle:
    """Uncompressed run-length code → COCO's compressed one, ready for JSON."""
    return encode_rle(decode_rle(uncompressed_rle))


def batched_mask_to_box(masks: Tensor) -> Tensor:
    """Masks (…,H,W) → boxes (…,4) as x0 y0 x1 y1, both ends inside; an empty mask gives 0 0 0 0."""
    return torch.from_numpy(mask_boxes(_bool(masks))).to(masks.device)


def box_xyxy_to_xywh(box_xyxy: Boxes) -> Boxes:
    """Boxes (…,4), a tensor or an array: corners → corner and size."""
    boxes = copy.deepcopy(box_xyxy)
    boxes[..., 2:] -= boxes[..., :2]
    return boxes


def generate_crop_boxes(
    im_size: tuple[int, ...], n_layers: int, overlap_ratio: float
) -> tuple[list[list[int]], list[int]]:
    """Boxes of the whole picture (H,W) and of its crops, as x0 y0 x1 y1, and the layer of each."""
    crops = make_crops((im_size[0], im_size[1]), n_layers, overlap_ratio)
    return [list(crop.box) for crop in crops], [crop.layer for crop in crops]


def is_box_near_crop_edge(
    boxes: Tensor, crop_box: Sequence[int], orig_box: Sequence[int], atol: float = EDGE_TOLERANCE
) -> Tensor:
    """Which boxes (N,4), in pixels of the crop, end near an edge of the crop that is no edge of the picture."""
    boxes = uncrop_boxes_xyxy(boxes, crop_box).float()
    near_crop = (boxes - boxes.new_tensor(crop_box)).abs() <= atol
    near_picture = (boxes - boxes.new_tensor(orig_box)).abs() <= atol
    return (near_crop & ~near_picture).any(dim=1)


def uncrop_boxes_xyxy(boxes: Tensor, crop_box: Sequence[int]) -> Tensor:
    """Boxes (…,4) in pixels of a crop → of the picture."""
    return boxes + boxes.new_tensor([*crop_box[:2], *crop_box[:2]])


def uncrop_points(points: Tensor, crop_box: Sequence[int]) -> Tensor:
    """Points (…,2) in pixels of a crop → of the picture."""
    return points + points.new_tensor(crop_box[:2])


def uncrop_masks(masks: Tensor, crop_box: Sequence[int], orig_h: int, orig_w: int) -> Tensor:
    """Masks (…,h,w) of a crop → of the picture, 0 around it."""
    x0, y0, x1, y1 = crop_box
    return F.pad(masks, (x0, orig_w - x1, y0, orig_h - y1))


def calculate_stability_score(masks: Tensor, mask_threshold: float, threshold_offset: float) -> Tensor:
    """Logits (…,H,W) → (…): pixels above the threshold plus an offset over those above it minus the offset."""
    high = (masks > mask_threshold + threshold_offset).sum((-1, -2), dtype=torch.int32)
    low = (masks > mask_threshold - threshold_offset).sum((-1, -2), dtype=torch.int32)
    return high / low


def remove_small_regions(mask: npt.NDArray[Any], area_thresh: float, mode: str) -> tuple[BoolArray, bool]:
    """Fill holes (``"holes"``) or remove islands (``"islands"``) smaller than an area; and whether there were any.

    Of islands the largest always stays.
    """
    if mode not in ("holes", "islands"):
        raise ValueError(f"mode must be 'holes' or 'islands', got {mode!r}")
    mask = np.asarray(mask, bool)
    whole_pixels_below = int(np.ceil(area_thresh)) - 1
    small = small_components(~mask if mode == "holes" else mask, whole_pixels_below)
    if not small.any():
        return mask, False
    if mode == "holes":
        return mask | small, True
    rest = mask & ~small
    return (rest if rest.any() else _largest(mask)), True


def _largest(mask: BoolArray) -> BoolArray:
    labels, areas = label_components(mask)
    return np.asarray(labels == int(areas[1:].argmax()) + 1)


def _bool(tensor: Tensor) -> BoolArray:
    return np.asarray(tensor.detach().bool().cpu().numpy())
