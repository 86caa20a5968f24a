"""From a photo to the network's input and from low-resolution logits back to the photo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samphony.media.masks import small_components
from samphony.media.photo import ChannelOrder, PhotoLike, load_photo

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
CLEANED_MARGIN = 10.0
"""How far beyond the threshold the logit of a filled hole or a removed sprinkle is put."""


class SAM2Transforms(nn.Module):
    """The official image path without torchvision: scale to 0…1, resize the float picture, normalise.

    The picture is resized to a square of ``resolution`` without keeping its aspect ratio, bilinear with antialias, as
    floating-point numbers: resizing bytes, or without antialias, gives visibly other masks.

    Args:
        resolution: pixels per side of the network's input.
        mask_threshold: logit above which a pixel belongs to the mask.
        max_hole_area: holes of at most so many pixels of the low-resolution mask are filled; 0: none.
        max_sprinkle_area: islands of at most so many pixels are removed; 0: none.
    """

    def __init__(
        self,
        resolution: int,
        mask_threshold: float = 0.0,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
    ) -> None:
        super().__init__()
        self.resolution = resolution
        self.mask_threshold = mask_threshold
        self.max_hole_area = max_hole_area
        self.max_sprinkle_area = max_sprinkle_area
        self.mean = IMAGE_MEAN
        self.std = IMAGE_STD

    def __call__(self, x: PhotoLike, channel_order: ChannelOrder = "rgb") -> Tensor:
        """Any picture → the network's input (3,S,S), float32 on the CPU. Floats are taken as they are (0…1)."""
        return self.normalise(load_photo(x, channel_order=channel_order, keep_float=True))

    def normalise(self, pixels: np.ndarray) -> Tensor:
        """RGB pixels (H,W,3), uint8 or float → (3,S,S)."""
        writable = pixels if pixels.flags.writeable else pixels.copy()  # np.asarray of a Pillow image is not
        picture = torch.from_numpy(writable).permute(2, 0, 1)
        if picture.dtype == torch.uint8:
            picture = picture.contiguous().float().div_(255.0)
        size = (self.resolution, self.resolution)
        if picture.shape[-2:] != torch.Size(size):
            picture = F.interpolate(picture[None], size, mode="bilinear", align_corners=False, antialias=True)[0]
        mean = torch.tensor(self.mean)[:, None, None]
        return picture.sub(mean).div_(torch.tensor(self.std)[:, None, None])

    def forward_batch(self, img_list: Sequence[PhotoLike]) -> Tensor:
        """Pictures of any sizes → (B,3,S,S)."""
        return torch.stack([self(image) for image in img_list])

    def transform_coords(
        self, coords: Tensor, normalize: bool = False, orig_hw: tuple[int, int] | None = None
    ) -> Tensor:
        """Points (…,2), x y: pixels of the photo with ``normalize``, else already in 0…1 → pixels of the input."""
        if normalize:
            if orig_hw is None:
                raise ValueError("orig_hw must be given when coordinates are in pixels of the photo")
            height, width = orig_hw
            coords = coords / coords.new_tensor([width, height])
        return coords * self.resolution

    def transform_boxes(self, boxes: Tensor, normalize: bool = False, orig_hw: tuple[int, int] | None = None) -> Tensor:
        """Boxes (…,4), x0 y0 x1 y1 → their corners (N,2,2) in pixels of the input."""
        return self.transform_coords(boxes.reshape(-1, 2, 2), normalize, orig_hw)

    def postprocess_masks(self, masks: Tensor, orig_hw: tuple[int, int]) -> Tensor:
        """Low-resolution logits (N,M,h,w) → logits at the photo's size (N,M,H,W), cleaned if so asked."""
        masks = self.clean(masks.float())
        single = masks.flatten(0, 1)[:, None]  # torch turns three channels to channels-last and back, at twice the cost
        return F.interpolate(single, tuple(orig_hw), mode="bilinear", align_corners=False).view(
            *masks.shape[:2], *orig_hw
        )

    def clean(self, masks: Tensor) -> Tensor:
        """Fill small holes and remove small islands, judged on the logits as given, (N,M,h,w)."""
        if self.max_hole_area <= 0 and self.max_sprinkle_area <= 0:
            return masks
        on = (masks > self.mask_threshold).cpu().numpy()
        if self.max_hole_area > 0:
            holes = torch.from_numpy(small_components(~on, self.max_hole_area)).to(masks.device)
            masks = masks.masked_fill(holes, self.mask_threshold + CLEANED_MARGIN)
        if self.max_sprinkle_area > 0:
            sprinkles = torch.from_numpy(small_components(on, self.max_sprinkle_area)).to(masks.device)
            masks = masks.masked_fill(sprinkles, self.mask_threshold - CLEANED_MARGIN)
        return masks
