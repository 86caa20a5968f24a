"""The image door under its official module name, with the official package's numbers even where it leaves work undone.

The official package removes holes and sprinkles with an extension for CUDA and silently leaves them elsewhere. So does
this door, but says so. ``samphony.SAM2ImagePredictor`` removes them on every device.
"""

from __future__ import annotations

import warnings
from typing import Any

from samphony.model.base import SAM2Base
from samphony.predict.image import SAM2ImagePredictor as _SAM2ImagePredictor

__all__ = ["SAM2ImagePredictor"]


class SAM2ImagePredictor(_SAM2ImagePredictor):
    """``samphony.SAM2ImagePredictor`` that cleans masks only where the official package does: on CUDA."""

    def __init__(
        self,
        sam_model: SAM2Base,
        mask_threshold: float = 0.0,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
        **kwargs: Any,
    ) -> None:
        if (max_hole_area > 0 or max_sprinkle_area > 0) and sam_model.device.type != "cuda":
            warnings.warn(
                "max_hole_area and max_sprinkle_area have no effect without CUDA in this door, as in the official "
                "package; samphony.SAM2ImagePredictor cleans masks on every device",
                stacklevel=2,
            )
            max_hole_area = max_sprinkle_area = 0.0
        super().__init__(sam_model, mask_threshold, max_hole_area, max_sprinkle_area, **kwargs)
