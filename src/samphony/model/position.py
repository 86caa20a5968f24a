"""Position codes: sine tables, the random-Fourier code of coordinates, axial rotary tables.

Tables depend only on a size, a device and a dtype. They are computed once and kept in small bounded caches. They are
always made outside inference mode, since a table made inside could not take part in a later backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, nn

P = ParamSpec("P")
T = TypeVar("T")


def _table(make: Callable[P, T]) -> Callable[P, T]:
    """Compute once per arguments; while a graph is captured compute anew, since its tensors are no numbers to keep."""
    kept = lru_cache(maxsize=32)(make)

    @wraps(make)
    @torch.inference_mode(False)
    @torch.no_grad()
    def table(*args: P.args, **kwargs: P.kwargs) -> T:
        return make(*args, **kwargs) if torch.compiler.is_compiling() else kept(*args, **kwargs)  # type: ignore[arg-type]

    return table


@_table
def sine_position_2d(
    height: int, width: int, channels: int, device: torch.device, dtype: torch.dtype = torch.float32
) -> Tensor:
    """The two-dimensional sine code of DETR: (1, channels, height, width), y half first.

    Positions run from 1 to the size, scaled to 2π; sine on even, cosine on odd channels of each half.
    """
    half = channels // 2
    index = torch.arange(half, dtype=torch.float32, device=device)
    period = 10000.0 ** (2 * torch.div(index, 2, rounding_mode="floor") / half)

    def axis(size: int) -> Tensor:  # (size, half)
        at = torch.arange(1, size + 1, dtype=torch.float32, device=device) / (size + 1e-6) * (2 * math.pi)
        angle = at[:, None] / period
        return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1)

    y = axis(height)[:, None, :].expand(height, width, half)
    x = axis(width)[None, :, :].expand(height, width, half)
    return torch.cat((y, x), dim=2).permute(2, 0, 1)[None].to(dtype).contiguous()


def sine_position_1d(position: Tensor, channels: int) -> Tensor:
    """Code of scalar positions (T,) as (T, channels): all sines, then all cosines."""
    half = channels // 2
    index = torch.arange(half, dtype=torch.float32, device=position.device)
    period = 10000.0 ** (2 * torch.div(index, 2, rounding_mode="floor") / half)
    angle = position[:, None] / period
    return torch.cat((angle.sin(), angle.cos()), dim=-1)


class PositionEmbeddingRandom(nn.Module):
    """Random-Fourier code of coordinates (Tancik et al., 2020), as SAM uses it for points and for the dense code."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, num_pos_feats: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, num_pos_feats))

    def _pe_encoding(self, coords: Tensor) -> Tensor:
        """Coordinates in [0, 1] (…,2) as x, y → (…, 2·num_pos_feats)."""
        angle = (2 * coords - 1) @ self.positional_encoding_gaussian_matrix * (2 * math.pi)
        return torch.cat((angle.sin(), angle.cos()), dim=-1)

    def forward(self, size: tuple[int, int]) -> Tensor:
        """The code of the cell centres of a grid (h, w): (2·num_pos_feats, h, w)."""
        h, w = size
        like = self.positional_encoding_gaussian_matrix
        y = (torch.arange(h, device=like.device, dtype=like.dtype) + 0.5) / h
        x = (torch.arange(w, device=like.device, dtype=like.dtype) + 0.5) / w
        grid = torch.stack((x[None, :].expand(h, w), y[:, None].expand(h, w)), dim=-1)
        return self._pe_encoding(grid).permute(2, 0, 1)

    def forward_with_coords(self, coords: Tensor, image_size: tuple[int, int]) -> Tensor:
        """The code of pixel coordinates (…,2) in an image of size (H, W)."""
        size = coords.new_tensor([image_size[1], image_size[0]])
        return self._pe_encoding((coords / size).to(self.positional_encoding_gaussian_matrix.dtype))


@_table
def axial_rotary_table(
    height: int, width: int, head_dim: int, theta: float, device: torch.device, pool: int = 1
) -> tuple[Tensor, Tensor]:
    """Cosines and sines (height·width, head_dim/2) of two-dimensional rotary positions.

    The first half of the pairs turns with x, the second with y. ``pool`` > 1 places cell i at the centre of ``pool``
    cells of the finer grid that the queries live on.
    """
    frequency = 1.0 / theta ** (torch.arange(0, head_dim, 4, dtype=torch.float32, device=device) / head_dim)
    token = torch.arange(height * width, dtype=torch.float32, device=device)
    x, y = token % width, torch.div(token, width, rounding_mode="floor")
    if pool > 1:
        x, y = x * pool + (pool - 1) / 2, y * pool + (pool - 1) / 2
    angle = torch.cat((torch.outer(x, frequency), torch.outer(y, frequency)), dim=-1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Turn adjacent pairs of x (…,T,D) by the angles of a table (T, D/2)."""
    cos, sin = table
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2)


def rotate_halves(x: Tensor, table: tuple[Tensor, Tensor], out: Tensor | None = None) -> Tensor:
    """``rotate`` for vectors (…,T,D) that hold the first of each pair in their first half, without gradients."""
    cos, sin = table
    out = torch.empty_like(x) if out is None else out
    a, b = x.chunk(2, dim=-1)
    first, second = out.chunk(2, dim=-1)
    torch.mul(a, cos, out=first).addcmul_(b, sin, value=-1)
    torch.mul(a, sin, out=second).addcmul_(b, cos)
    return out
