"""The nano's prompt encoder: the official one, with the prompts also drawn into the dense map.

A small network learns little from prompts that arrive as tokens only: its image features must be asked "is this the
same object?" by attention. Drawn as small pictures (a disc for each click, the filled box, the previous mask) and
brought to the embedding by three convolutions, the same prompts are where the features are. Interface and
parameters of `PromptEncoder` stay; ``draw.*`` is added.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samphony.model.layers import LayerNorm2d
from samphony.model.prompt_encoder import PromptEncoder

_OTHER_CHANNELS = 3
"""Filled box, previous mask, and whether there is a previous mask; before them positive and negative clicks."""


class DrawnPromptEncoder(PromptEncoder):
    """Prompts as tokens and as pictures.

    Args:
        embed_dim: C.
        image_embedding_size: (h, w).
        input_image_size: (H, W) in pixels.
        mask_in_chans: hidden channels of the mask downscaling.
        sigma: radius of a drawn click, in pixels of the map of (4h, 4w).
        reaches: radii of wider bumps, drawn in channels of their own: three small convolutions do not carry far.
    """

    def __init__(
        self,
        embed_dim: int,
        image_embedding_size: tuple[int, int],
        input_image_size: tuple[int, int],
        mask_in_chans: int,
        sigma: float = 2.0,
        reaches: Sequence[float] = (),
    ) -> None:
        super().__init__(embed_dim, image_embedding_size, input_image_size, mask_in_chans)
        self.sigmas = (sigma, *reaches)
        self.draw = nn.Sequential(
            nn.Conv2d(2 * len(self.sigmas) + _OTHER_CHANNELS, 24, 3, stride=2, padding=1),
            LayerNorm2d(24),
            nn.GELU(),
            nn.Conv2d(24, 48, 3, stride=2, padding=1),
            LayerNorm2d(48),
            nn.GELU(),
            nn.Conv2d(48, embed_dim, 1),
        )

    def forward(
        self,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """As `PromptEncoder.forward`; the dense prompt also carries what is drawn."""
        sparse, dense = super().forward(points, boxes, masks)
        coords, labels = _as_points(points, boxes)
        if coords is None or labels is None:
            if masks is None:
                return sparse, dense
            coords, labels = masks.new_zeros(masks.shape[0], 0, 2), masks.new_zeros(masks.shape[0], 0)
        pictures = self.pictures(coords.to(dense.dtype), labels, masks)
        return sparse, dense + self.draw(pictures)

    def pictures(self, coords: Tensor, labels: Tensor, masks: Tensor | None) -> Tensor:
        """The drawing: points (B,N,2) in input pixels, labels (B,N), mask logits → (B,K,4h,4w)."""
        coords, labels = F.pad(coords, (0, 0, 0, 1)), F.pad(labels, (0, 1), value=-1)  # never an empty list
        H, W = self.mask_input_size
        scale = coords.new_tensor([W / self.input_image_size[1], H / self.input_image_size[0]])
        at = (coords + 0.5) * scale  # (B,N,2), pixels of the map
        x = torch.arange(W, device=at.device, dtype=at.dtype) + 0.5
        y = torch.arange(H, device=at.device, dtype=at.dtype) + 0.5
        # A disc is the product of two bumps: rows and columns are computed, never a map for each point.
        discs: list[Tensor] = []
        for sigma in self.sigmas:
            width = 2 * sigma**2
            columns = torch.exp(-((x - at[..., 0:1]) ** 2) / width)  # (B,N,W)
            rows = torch.exp(-((y - at[..., 1:2]) ** 2) / width)  # (B,N,H)
            for sign in (1, 0):
                signed = rows * (labels == sign)[..., None].to(at.dtype)
                discs.append((signed.transpose(1, 2) @ columns).clamp(max=1.0))
        if masks is None:
            mask = known = torch.zeros_like(discs[0])
        else:
            mask = masks[:, 0].to(at.dtype).sigmoid()
            known = torch.ones_like(mask)
        return torch.stack((*discs, _filled_box(at, labels, x, y), mask, known), dim=1)


def _as_points(points: tuple[Tensor, Tensor] | None, boxes: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Clicks and boxes as one list of points with labels 0…3."""
    if boxes is None:
        return points if points is not None else (None, None)
    corners = boxes.reshape(-1, 2, 2)
    labels = torch.tensor([2, 3], device=boxes.device).expand(corners.shape[0], 2)
    if points is None:
        return corners, labels
    return torch.cat((points[0], corners), dim=1), torch.cat((points[1], labels.to(points[1].dtype)), dim=1)


def _filled_box(at: Tensor, labels: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """1 inside the box of the corners labelled 2 and 3, a soft rim of one pixel; 0 where there is no box. (B,H,W)."""
    low = at.masked_fill((labels != 2)[..., None], float("-inf")).amax(dim=1)  # (B,2); -inf: no box
    high = at.masked_fill((labels != 3)[..., None], float("-inf")).amax(dim=1)
    inside_x = ((x - low[:, :1] + 0.5).clamp(0, 1)) * ((high[:, :1] - x + 0.5).clamp(0, 1))  # (B,W)
    inside_y = ((y - low[:, 1:] + 0.5).clamp(0, 1)) * ((high[:, 1:] - y + 0.5).clamp(0, 1))
    return inside_y[:, :, None] * inside_x[:, None, :]
