"""The automatic door under its official module name, with the official numbers even where work is left undone.

The official generator never calls its own clean-up, so that ``min_mask_region_area`` changes nothing without its CUDA
extension. So does this door, but says so. ``samphony.SAM2AutomaticMaskGenerator`` cleans on every device.
"""

from __future__ import annotations

import warnings
from typing import Any

from samphony.model.base import SAM2Base
from samphony.predict.automatic import SAM2AutomaticMaskGenerator as _SAM2AutomaticMaskGenerator

__all__ = ["SAM2AutomaticMaskGenerator"]


class SAM2AutomaticMaskGenerator(_SAM2AutomaticMaskGenerator):
    """``samphony.SAM2AutomaticMaskGenerator`` with ``clean_regions=False``."""

    def __init__(self, model: SAM2Base, *args: Any, **kwargs: Any) -> None:
        super().__init__(model, *args, **{"clean_regions": False, **kwargs})
        if self.min_mask_region_area > 0 and not self.clean_regions:
            warnings.warn(
                "min_mask_region_area has no effect in this door, as in the official generator; "
                "samphony.SAM2AutomaticMaskGenerator cleans masks on every device",
                stacklevel=2,
            )
