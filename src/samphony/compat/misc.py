"""``sam2.utils.misc`` on tensors, over our mask tools."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from samphony.compat.amg import batched_mask_to_box as mask_to_box
from samphony.media.masks import label_components
from samphony.predict.video.cleaning import clean_logits

__all__ = ["concat_points", "fill_holes_in_mask_scores", "get_connected_components", "mask_to_box"]


def get_connected_components(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Masks (N,1,H,W) → labels and, at each pixel, the area of its component (N,1,H,W); 0 where not set."""
    labels, areas = np.zeros(mask.shape, np.int32), np.zeros(mask.shape, np.int32)
    for index, one in enumerate(mask[:, 0].bool().cpu().numpy()):
        found, sizes = label_components(one)
        labels[index, 0] = found
        areas[index, 0] = np.where(found > 0, sizes[found], 0)
    return torch.from_numpy(labels).to(mask.device), torch.from_numpy(areas).to(mask.device)


def fill_holes_in_mask_scores(mask: Tensor, max_area: int) -> Tensor:
    """Logits (N,1,H,W) with the holes of at most ``max_area`` pixels put just above 0, on every device."""
    if max_area <= 0:
        raise ValueError(f"max_area must be positive, got {max_area}")
    return clean_logits(mask, max_area, 0)


def concat_points(
    old_point_inputs: dict[str, Tensor] | None, new_points: Tensor, new_labels: Tensor
) -> dict[str, Tensor]:
    """Points (B,N,2) and labels (B,N) behind those of earlier clicks."""
    if old_point_inputs is not None:
        new_points = torch.cat((old_point_inputs["point_coords"], new_points), dim=1)
        new_labels = torch.cat((old_point_inputs["point_labels"], new_labels), dim=1)
    return {"point_coords": new_points, "point_labels": new_labels}
