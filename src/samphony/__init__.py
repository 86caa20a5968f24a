"""samphony: Segment Anything 2 in PyTorch.

The public names below are imported when they are first used, so that ``import samphony`` and ``samphony --help`` do not
wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from samphony.compat.install import install_as_sam2
    from samphony.errors import CheckpointError, ConfigError, MediaError, PromptError, SamphonyError, StateError
    from samphony.media.photo import load_photo
    from samphony.model.config import MODELS, SAM2Config
    from samphony.predict.automatic import SAM2AutomaticMaskGenerator
    from samphony.predict.build import build_sam2, build_sam2_video_predictor
    from samphony.predict.image import SAM2ImagePredictor
    from samphony.predict.video.predictor import SAM2VideoPredictor
    from samphony.predict.zoom import ZoomImagePredictor
    from samphony.segmentation import Segmentation, segment

__all__ = [
    "MODELS",
    "CheckpointError",
    "ConfigError",
    "MediaError",
    "PromptError",
    "SAM2AutomaticMaskGenerator",
    "SAM2Config",
    "SAM2ImagePredictor",
    "SAM2VideoPredictor",
    "SamphonyError",
    "Segmentation",
    "StateError",
    "ZoomImagePredictor",
    "build_sam2",
    "build_sam2_video_predictor",
    "install_as_sam2",
    "load_photo",
    "segment",
]

_HOMES = {
    "MODELS": "samphony.model.config",
    "CheckpointError": "samphony.errors",
    "ConfigError": "samphony.errors",
    "MediaError": "samphony.errors",
    "PromptError": "samphony.errors",
    "SAM2AutomaticMaskGenerator": "samphony.predict.automatic",
    "SAM2Config": "samphony.model.config",
    "SAM2ImagePredictor": "samphony.predict.image",
    "SAM2VideoPredictor": "samphony.predict.video.predictor",
    "SamphonyError": "samphony.errors",
    "Segmentation": "samphony.segmentation",
    "StateError": "samphony.errors",
    "ZoomImagePredictor": "samphony.predict.zoom",
    "build_sam2": "samphony.predict.build",
    "build_sam2_video_predictor": "samphony.predict.build",
    "install_as_sam2": "samphony.compat.install",
    "load_photo": "samphony.media.photo",
    "segment": "samphony.segmentation",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'samphony' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
