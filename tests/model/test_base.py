"""The conductor: parts can be swapped, official names are there, a step is its four verbs in order."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.model.conftest import Fresh, click, recall
from torch import Tensor, nn

from samphony.model.base import SAM2Base
from samphony.model.build import build_model
from samphony.model.config import SAM2Config
from samphony.model.features import ImageFeatures
from samphony.model.memory import PointerMemory, Recall, SpatialMemory

# ------------------------------------------------------------------ parts


class Swapped(nn.Module):
    """Stands in a part's place and notes that it was asked."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part
        self.asked = 0

    def forward(self, *args: object, **kwargs: object) -> object:
        self.asked += 1
        return self.part(*args, **kwargs)

    def __getattr__(self, name: str) -> object:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("part"), name)


@pytest.mark.parametrize(
    "part", ["image_encoder", "sam_prompt_encoder", "sam_mask_decoder", "memory_encoder", "memory_attention"]
)
def test_every_part_can_be_swapped(
    part: str, fresh_tiny_model: Fresh, tiny_config: SAM2Config, picture: Tensor
) -> None:
    model = fresh_tiny_model(tiny_config)

    def step() -> Tensor:
        with torch.no_grad():
            out = model.track_step(model.forward_image(picture), recall=recall(), point_inputs=click())
        assert out.memory is not None
        return torch.cat((out.low_res_masks.flatten(), out.memory.flatten()))

    wanted = step()
    stand_in = Swapped(getattr(model, part))
    setattr(model, part, stand_in)
    if part == "image_encoder":  # its own form multiplies laterals and reductions first: the same to rounding
        torch.testing.assert_close(step(), wanted, atol=1e-5, rtol=1e-5)
    else:
        assert torch.equal(step(), wanted)
    assert stand_in.asked > 0


def test_the_image_encoder_may_be_any_callable_module(
    fresh_tiny_model: Fresh, tiny_config: SAM2Config, picture: Tensor
) -> None:
    """One that never heard of Hiera, and gives a plain mapping as the official one does."""

    class Flat(nn.Module):
        def forward(self, x: Tensor) -> dict[str, object]:
            levels = [nn.functional.adaptive_avg_pool2d(x, s).repeat(1, 11, 1, 1)[:, :32] for s in (16, 8, 4)]
            return {
                "vision_features": levels[-1],
                "vision_pos_enc": [torch.zeros_like(level) for level in levels],
                "backbone_fpn": levels,
            }

    model = fresh_tiny_model(tiny_config)
    model.image_encoder = Flat()
    encoded = model.forward_image(picture)
    assert [level.shape[1] for level in encoded["backbone_fpn"]] == [4, 8, 32]


def test_forward_is_refused(tiny_model: SAM2Base) -> None:
    with pytest.raises(TypeError, match="no forward"):
        tiny_model(torch.zeros(1, 3, 64, 64))


# ------------------------------------------------------------------ official names


def test_backbone_features_in_the_official_flat_form(tiny_model: SAM2Base, features: ImageFeatures) -> None:
    copy, levels, positions, sizes = tiny_model._prepare_backbone_features(features)
    assert tiny_model.num_feature_levels == 3
    assert sizes == [(16, 16), (8, 8), (4, 4)]
    assert [tuple(x.shape) for x in levels] == [(256, 1, 4), (64, 1, 8), (16, 1, 32)]
    assert [tuple(p.shape) for p in positions] == [(256, 1, 32), (64, 1, 32), (16, 1, 32)]
    assert torch.equal(levels[-1].permute(1, 2, 0).reshape(1, 32, 4, 4), features["vision_features"])
    assert copy is not features


def test_behaviour_is_read_and_set_by_official_names(fresh_tiny_model: Fresh, tiny_config: SAM2Config) -> None:
    model = fresh_tiny_model(tiny_config)
    assert model.memory_temporal_stride_for_eval == 1
    assert model.directly_add_no_mem_embed is True
    assert model.backbone_stride == 16
    assert model.pred_obj_scores
    assert model.sam_image_embedding_size == 4
    model.memory_temporal_stride_for_eval = 3
    model.multimask_max_pt_num = 0
    assert model.config.memory_temporal_stride_for_eval == 3
    assert not model.use_multimask(True, click())
    assert tiny_config.memory_temporal_stride_for_eval == 1


def test_names_that_are_no_behaviour_stay_unknown(tiny_model: SAM2Base) -> None:
    """``hasattr(model, "prompt_encoder")`` is how tools tell SAM 1 from SAM 2."""
    for name in ("prompt_encoder", "mask_decoder", "trunk", "no_such_name"):
        assert not hasattr(tiny_model, name)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = tiny_model.no_such_name


def test_seven_official_values(tiny_model: SAM2Base, features: ImageFeatures) -> None:
    with torch.no_grad():
        heads = tiny_model._forward_sam_heads(
            tiny_model.no_memory_embedding(features), click(), None, features.high_res, True
        )
    shapes = [(1, 3, 16, 16), (1, 3, 64, 64), (1, 3), (1, 1, 16, 16), (1, 1, 64, 64), (1, 32), (1, 1)]
    assert [tuple(value.shape) for value in heads] == shapes
    best = int(heads.ious.argmax())
    assert torch.equal(heads.low_res_masks, heads.low_res_multimasks[:, best : best + 1])
    assert int(heads.pick) == best


# ------------------------------------------------------------------ a whole step


def test_a_step_is_the_four_verbs_in_order(tiny_model: SAM2Base, features: ImageFeatures) -> None:
    with torch.no_grad():
        out = tiny_model.track_step(features, recall=recall(), point_inputs=click())
        heads = tiny_model._forward_sam_heads(
            tiny_model.condition_on_memory(features, recall()), click(), None, features.high_res, True
        )
        memory = tiny_model.encode_memory(features, heads.high_res_masks, heads.object_score_logits, True)
    assert torch.equal(out.low_res_masks, heads.low_res_masks)
    assert torch.equal(out.obj_ptr, heads.obj_ptr)
    assert torch.equal(out.memory, memory.features)
    assert torch.equal(out.memory_position, memory.position)
    assert out.iou.tolist() == [float(heads.ious.max())]


def test_a_step_without_memory_encoder(
    fresh_tiny_model: Fresh, tiny_config: SAM2Config, tiny_model: SAM2Base, features: ImageFeatures
) -> None:
    with torch.no_grad():
        out = tiny_model.track_step(features, recall=None, point_inputs=click(), run_memory_encoder=False)
        assert out.memory is None
        assert out.memory_position is None
        photos_only = fresh_tiny_model(replace(tiny_config, num_maskmem=0))
        assert photos_only.track_step(features, recall=None, point_inputs=click()).memory is None


def test_many_objects_on_one_picture(tiny_model: SAM2Base, features: ImageFeatures) -> None:
    with torch.no_grad():
        out = tiny_model.track_step(features, recall=None, point_inputs=click(batch=3))
        one = tiny_model.track_step(features, recall=None, point_inputs=click())
    assert out.low_res_masks.shape == (3, 1, 16, 16)
    assert out.high_res_masks.shape == (3, 1, 64, 64)
    assert torch.allclose(out.low_res_masks[1:2], one.low_res_masks, atol=1e-5)
    assert torch.allclose(out.memory[2:], one.memory, atol=1e-5)


def test_earlier_logits_refine_an_answer(tiny_model: SAM2Base, features: ImageFeatures) -> None:
    with torch.no_grad():
        first = tiny_model.track_step(features, recall=None, point_inputs=click())
        again = tiny_model.track_step(
            features, recall=None, point_inputs=click(), prev_low_res_logits=first.low_res_masks
        )
    assert not torch.allclose(first.low_res_masks, again.low_res_masks)


@pytest.mark.parametrize("size", [32, 96, 160])
def test_other_image_sizes(size: int, tiny_config: SAM2Config) -> None:
    model = build_model(replace(tiny_config, image_size=size), seed=0).eval()
    cells = size // 16
    with torch.no_grad():
        features = model.forward_image(torch.randn(1, 3, size, size))
        first = model.track_step(features, recall=None, point_inputs=click())
        assert first.low_res_masks.shape == (1, 1, 4 * cells, 4 * cells)
        memory = Recall(
            (SpatialMemory(first.memory, first.memory_position, 0),), (PointerMemory(first.obj_ptr, 1.0),), 15
        )
        second = model.track_step(features, recall=memory)
    assert second.high_res_masks.shape == (1, 1, size, size)
    assert bool(second.low_res_masks.isfinite().all())
