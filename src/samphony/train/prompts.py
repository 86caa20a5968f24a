"""Playing the user: first prompts from the mask, correction clicks from the error.

Everything is batched over N objects and works on maps of a quarter of the input size, on any device; random numbers
come in as arguments, so that a picture's prompts do not depend on its neighbours in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_CELL = 4
"""Input pixels of a cell of the maps."""


@dataclass(frozen=True)
class Prompts:
    """Clicks and box corners of N objects: coords (N,K,2) in input pixels, labels (N,K), -1 for padding."""

    coords: Tensor
    labels: Tensor

    def add(self, more: Prompts) -> Prompts:
        """These prompts, then ``more``."""
        return Prompts(torch.cat((self.coords, more.coords), dim=1), torch.cat((self.labels, more.labels), dim=1))


def depth(region: Tensor, limit: int = 12) -> Tensor:
    """How deep inside its region a cell lies, in pairs of cells, up to ``limit``: (N,K,h,w) bool → float; 0 outside.

    Counts 3×3 erosions on a map of half the size: cheap, and exact enough to find a centre. Beyond the map is outside.
    """
    inside = -F.max_pool2d(-region.float(), 2)  # (N,K,h/2,w/2): whole pairs only
    total = torch.zeros_like(inside)
    for _ in range(limit):
        total += inside
        inside = -F.max_pool2d(F.pad(-inside, (1, 1, 1, 1), value=0.0), 3, stride=1)
    return F.interpolate(total, scale_factor=2.0, mode="nearest") * region


def click(inside: Tensor, outside: Tensor, noise: Tensor, centre: Tensor) -> Prompts:
    """One click for each object.

    Args:
        inside: (N,h,w) bool: cells where a positive click makes sense (first click: the object; later: what is missed).
        outside: (N,h,w) bool: cells where a negative click makes sense (what is too much). One object may have neither:
            its click then falls on a random cell that ``noise`` picks, as padding.
        noise: (N,h,w) in 0…1.
        centre: (N,) bool: click the deepest cell, else any cell.
    """
    h, w = inside.shape[-2:]
    regions = torch.stack((inside, outside), dim=1)  # (N,2,h,w)
    score = torch.where(regions, noise[:, None], -1.0)
    deep = torch.where(regions, depth(regions) + noise[:, None] * 0.5, -1.0)
    score = torch.where(centre[:, None, None, None], deep, score)
    best = score.flatten(1).argmax(dim=1)  # over (2,h,w)
    sign, cell = best // (h * w), best % (h * w)
    y, x = torch.div(cell, w, rounding_mode="floor"), cell % w
    # Anywhere in the cell; half a pixel less, since coordinates name pixels and the encoder adds their half.
    shift = noise.flatten(1)[:, :2] * (_CELL - 1)
    coords = torch.stack((x, y), dim=-1) * float(_CELL) + shift
    labels = torch.where(sign == 0, 1, 0)
    labels = torch.where(regions.flatten(1).any(dim=1), labels, -1)
    return Prompts(coords[:, None], labels[:, None].to(torch.int32))


def boxes(masks: Tensor, noise: Tensor, share: float) -> Prompts:
    """Loose boxes around masks (N,S,S): corners move by at most ``share`` of the sides; ``noise`` (N,4) in 0…1."""
    S = masks.shape[-1]
    columns, rows = masks.any(dim=1), masks.any(dim=2)  # (N,S)
    at = torch.arange(S, device=masks.device)

    def ends(line: Tensor) -> tuple[Tensor, Tensor]:
        low = torch.where(line, at, S).amin(dim=1)
        high = torch.where(line, at, -1).amax(dim=1) + 1
        return low.float(), high.float()

    (x0, x1), (y0, y1) = ends(columns), ends(rows)
    side = torch.stack((x1 - x0, y1 - y0), dim=1)
    move = (2 * noise - 1) * (side * share).clamp(max=S / 50).repeat(1, 2)
    corners = torch.stack((x0, y0, x1, y1), dim=1) + move
    corners = corners.clamp(0, S).unflatten(1, (2, 2))
    labels = torch.tensor([2, 3], dtype=torch.int32, device=masks.device).expand(masks.shape[0], 2)
    return Prompts(corners, labels)


def first_prompts(masks: Tensor, target: Tensor, noise: Tensor, box: Tensor, centre: Tensor, share: float) -> Prompts:
    """A box where ``box`` (N,) says so, else a click (padded to two points).

    masks: (N,S,S) bool. target: (N,h,w), share of the mask in each cell; a mask too thin for half a cell is clicked
    where it is thickest.
    """
    most = target.flatten(1).amax(dim=1)[:, None, None]
    inside = target >= most.clamp(max=0.5)
    clicked = click(inside & (target > 0), torch.zeros_like(inside), noise, centre)
    clicked = Prompts(F.pad(clicked.coords, (0, 0, 0, 1)), F.pad(clicked.labels, (0, 1), value=-1))
    boxed = boxes(masks, noise.flatten(1)[:, 2:6], share)
    return Prompts(
        torch.where(box[:, None, None], boxed.coords, clicked.coords),
        torch.where(box[:, None], boxed.labels, clicked.labels),
    )
