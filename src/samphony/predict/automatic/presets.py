"""Settings by name, for people who do not want to tune."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from samphony.errors import ConfigError


@dataclass(frozen=True)
class Preset:
    """Arguments of ``SAM2AutomaticMaskGenerator``."""

    points_per_side: int
    pred_iou_thresh: float
    stability_score_thresh: float
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_n_points_downscale_factor: int = 1
    min_mask_region_area: int = 0
    clean_regions: bool = True

    def arguments(self) -> dict[str, Any]:
        """As keyword arguments."""
        return asdict(self)


PRESETS: dict[str, Preset] = {
    "fast": Preset(points_per_side=16, pred_iou_thresh=0.8, stability_score_thresh=0.9, min_mask_region_area=100),
    "balanced": Preset(points_per_side=32, pred_iou_thresh=0.8, stability_score_thresh=0.92, min_mask_region_area=50),
    "thorough": Preset(
        points_per_side=32,
        pred_iou_thresh=0.75,
        stability_score_thresh=0.9,
        crop_n_layers=1,
        crop_n_points_downscale_factor=2,
        min_mask_region_area=25,
    ),
}
"""``fast``: objects of some size. ``balanced``: the official grid. ``thorough``: also small objects, by crops."""

_UNSURE = {"fast": (0.45, 0.6), "balanced": (0.4, 0.6), "thorough": (0.35, 0.55)}
"""Thresholds for the nano, of predicted IoU and stability. It is less sure: it predicts lower IoUs, and its logits rise
slowly from the rim inwards.
"""


def find_preset(name: str, model: str = "") -> Preset:
    """A preset by its name, with the thresholds that suit a model of that name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r} does not exist; there are {', '.join(PRESETS)}")
    if model != "nano":
        return PRESETS[name]
    pred_iou, stability = _UNSURE[name]
    return replace(
        PRESETS[name],
        pred_iou_thresh=pred_iou,
        stability_score_thresh=stability,
        stability_score_offset=0.3,
        box_nms_thresh=0.5,
    )
