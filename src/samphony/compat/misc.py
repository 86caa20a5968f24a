"""``sam2.utils.misc`` on tensors, over our mask and video tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samphony.compat.amg import batched_mask_to_box as mask_to_box
from samphony.media.masks import label_components
from samphony.media.video import open_video
from samphony.predict.transforms import IMAGE_MEAN, IMAGE_STD
from samphony.predict.video.cleaning import clean_logits
from samphony.predict.video.preprocess import model_input

__all__ = ["concat_points", "fill_holes_in_mask_scores", "get_connected_components", "load_video_frames", "mask_to_box"]


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


def load_video_frames(
    video_path: Any,
    image_size: int,
    offload_video_to_cpu: bool = True,
    img_mean: Sequence[float] = IMAGE_MEAN,
    img_std: Sequence[float] = IMAGE_STD,
    async_loading_frames: bool = False,
    compute_device: torch.device | str | None = None,
) -> tuple[Tensor, int, int]:
    """All frames of a video as the network takes them, (T,3,S,S), and the video's height and width.

    Our video predictor does not need it: it decodes frames when they are asked for, so that memory stays flat.
    ``async_loading_frames`` is accepted and changes nothing.
    """
    if tuple(img_mean) != IMAGE_MEAN or tuple(img_std) != IMAGE_STD:
        raise ValueError("load_video_frames: only the mean and deviation of the released models are supported")
    source = open_video(video_path)
    frames = [source[i] for i in range(len(source))]
    height, width = frames[0].shape[:2]
    images = torch.stack([model_input(frame, image_size) for frame in frames])
    return images if offload_video_to_cpu or compute_device is None else images.to(compute_device), height, width
