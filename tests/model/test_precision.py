"""Reduced precision: autocast on the whole path, and models cast to bfloat16."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from samphony.model.base import SAM2Base
from samphony.model.config import SAM2Config
from samphony.model.memory import PointerMemory, Recall, SpatialMemory
from samphony.model.outputs import FrameOutput

POINT = {"point_coords": torch.tensor([[[20.0, 30.0]]]), "point_labels": torch.tensor([[1]], dtype=torch.int32)}


def two_frames(model: SAM2Base, x: torch.Tensor) -> tuple[FrameOutput, FrameOutput]:
    """A clicked frame, and a second one that remembers it."""
    first = model.track_step(model.forward_image(x), recall=None, point_inputs=POINT)
    memory = SpatialMemory(first.memory.to(torch.bfloat16), first.memory_position, 0)
    recall = Recall((memory,), (PointerMemory(first.obj_ptr, 1.0),), 15)
    return first, model.track_step(model.forward_image(x.flip(3)), recall=recall)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_stays_near_full_precision(tiny_model: SAM2Base, dtype: torch.dtype) -> None:
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        full = two_frames(tiny_model, x)
        with torch.autocast("cpu", dtype=dtype):
            reduced = two_frames(tiny_model, x)
    for a, b in zip(full, reduced, strict=True):
        assert b.low_res_masks.dtype == torch.float32
        assert b.high_res_masks.dtype == torch.float32
        assert bool(b.low_res_masks.isfinite().all())
        spread = float(a.heads.low_res_multimasks.std())
        difference = (a.heads.low_res_multimasks - b.heads.low_res_multimasks).abs().mean()
        assert float(difference) < 0.2 * spread
        assert torch.allclose(a.iou, b.iou.float(), atol=0.1)


def test_a_model_cast_to_bfloat16_encodes(fresh_tiny_model: Callable[..., SAM2Base], tiny_config: SAM2Config) -> None:
    model = fresh_tiny_model(tiny_config).bfloat16()
    with torch.inference_mode():
        features = model.forward_image(torch.randn(1, 3, 64, 64).bfloat16())
    assert all(level.dtype == torch.bfloat16 for level in features.high_res)
    assert all(bool(level.isfinite().all()) for level in features.levels)


def test_double_precision_agrees(fresh_tiny_model: Callable[..., SAM2Base], tiny_config: SAM2Config) -> None:
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        single = fresh_tiny_model(tiny_config).forward_image(x)
        double = fresh_tiny_model(tiny_config).double().forward_image(x.double())
    for a, b in zip(single.levels, double.levels, strict=True):
        assert torch.allclose(a, b.float(), atol=1e-4)
