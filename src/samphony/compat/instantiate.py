"""Models from Hydra's configurations, for packages that call ``hydra.utils.instantiate`` themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from samphony.model.base import SAM2Base
from samphony.predict.build import build_sam2

_DERIVED = "memory_attention."
"""Sizes that official overrides repeat for the memory attention; ours follow from image_size."""


def model_from_config(name: str, **settings: Any) -> SAM2Base:
    """The model that a configuration names, with its overrides; weights are still to be loaded.

    Args:
        name: official name, such as ``sam2.1_hiera_t``.
        settings: what overrides have put beside it (``image_size``, ``sam_mask_decoder_extra_args`` …).
    """
    overrides = [f"++model.{key}={value}" for key, value in _flat(settings) if not key.startswith(_DERIVED)]
    return build_sam2(name, device="cpu", apply_postprocessing=False, hydra_overrides_extra=overrides)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
