"""Where the clicks of "segment everything" go: regular grids, in 0…1 of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from samphony.errors import ConfigError

PointGrid = npt.NDArray[np.float64]
"""Points (P,2), x y in 0…1."""


def point_grid(points_per_side: int) -> PointGrid:
    """The centres of n × n equal cells, row by row: (n²,2)."""
    if points_per_side < 1:
        raise ConfigError(f"points_per_side must be at least 1, got {points_per_side}")
    half = 1 / (2 * points_per_side)
    side = np.linspace(half, 1 - half, points_per_side)
    x, y = np.meshgrid(side, side)
    return np.stack((x, y), axis=-1).reshape(-1, 2)


def layer_grids(points_per_side: int, crop_n_layers: int, downscale_factor: int) -> tuple[PointGrid, ...]:
    """One grid for the whole picture and one for each layer of crops, each coarser by ``downscale_factor``."""
    if downscale_factor < 1:
        raise ConfigError(f"crop_n_points_downscale_factor must be at least 1, got {downscale_factor}")
    sides = [int(points_per_side / downscale_factor**layer) for layer in range(crop_n_layers + 1)]
    if sides[-1] < 1:
        raise ConfigError(
            f"points_per_side {points_per_side} leaves no point in crop layer {crop_n_layers}: give more points, fewer "
            f"crop_n_layers or a smaller crop_n_points_downscale_factor"
        )
    return tuple(point_grid(side) for side in sides)


def given_grids(grids: Sequence[Any], crop_n_layers: int) -> tuple[PointGrid, ...]:
    """Check the caller's grids: one (P,2) array in 0…1 for each layer."""
    if len(grids) < crop_n_layers + 1:
        raise ConfigError(f"point_grids must hold a grid for each of the {crop_n_layers + 1} layers, got {len(grids)}")
    checked = []
    for layer, grid in enumerate(grids):
        points = np.asarray(grid, np.float64)
        if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
            raise ConfigError(f"point_grids[{layer}] must be points (P,2), x y in 0…1, got {points.shape}")
        if not bool(((points >= 0) & (points <= 1)).all()):
            raise ConfigError(f"point_grids[{layer}] must lie in 0…1, got {points.min():g} … {points.max():g}")
        checked.append(points)
    return tuple(checked)
