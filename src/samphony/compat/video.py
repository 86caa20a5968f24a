"""``sam2.sam2_video_predictor`` with the official constructor, and the builders that give its class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from torch import nn

from samphony.compat.base import SAM2Base
from samphony.compat.official import Official
from samphony.model.config import SAM2Config
from samphony.predict import build
from samphony.predict.build import Device
from samphony.predict.video import predictor
from samphony.predict.video.policies import OFFICIAL, MemoryPolicy
from samphony.weights.download import find_weights
from samphony.weights.registry import resolve_name


class SAM2VideoPredictor(predictor.SAM2VideoPredictor, metaclass=Official):
    """Options in their official order, then the network: as parts and flags, or whole as ``model``.

    Packages derive from it and have Hydra make it. ``SAM2VideoPredictor(model)`` works, too.
    """

    def __init__(
        self,
        fill_hole_area: Any = 0,
        non_overlap_masks: bool = False,
        clear_non_cond_mem_around_input: bool = False,
        add_all_frames_to_correct_as_cond: bool = False,
        *,
        model: Any = None,
        policy: MemoryPolicy = OFFICIAL,
        **settings: Any,
    ) -> None:
        if isinstance(fill_hole_area, nn.Module):
            model, fill_hole_area = fill_hole_area, 0
        if model is None:
            model, settings = SAM2Base(**settings), {}
        super().__init__(
            model,
            policy=policy,
            fill_hole_area=fill_hole_area,
            non_overlap_masks=non_overlap_masks,
            clear_non_cond_mem_around_input=clear_non_cond_mem_around_input,
            add_all_frames_to_correct_as_cond=add_all_frames_to_correct_as_cond,
            **settings,
        )

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> predictor.SAM2VideoPredictor:
        """The predictor of a released model; as officially, not of the subclass that it is asked of."""
        return build_sam2_video_predictor_hf(model_id, **kwargs)


class SAM2VideoPredictorVOS(SAM2VideoPredictor):
    """The official variant that compiles its parts; here the same numbers at the same speed."""


def build_sam2_video_predictor(
    config_file: str | SAM2Config | None,
    ckpt_path: str | os.PathLike[str] | None = None,
    device: Device | None = None,
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    vos_optimized: bool = False,
    **more: Any,
) -> predictor.SAM2VideoPredictor:
    """Our builder, giving an instance of the class above: a package that changes that class finds its change."""
    made = SAM2VideoPredictorVOS if vos_optimized else SAM2VideoPredictor
    overrides = [f"++model._target_={__name__}.{made.__name__}", *hydra_overrides_extra]
    return build.build_sam2_video_predictor(
        config_file, ckpt_path, device, mode, overrides, apply_postprocessing, vos_optimized, **more
    )


def build_sam2_video_predictor_hf(model_id: str, **more: Any) -> predictor.SAM2VideoPredictor:
    """The same with weights that are fetched once and cached."""
    return build_sam2_video_predictor(resolve_name(model_id), find_weights(model_id), **more)
