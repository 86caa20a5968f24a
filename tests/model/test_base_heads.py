"""The conductor's answers: masks, pointers and object scores follow SAM 2's rules, in 2.0 and in 2.1."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.model.conftest import Fresh, click, set_score
from torch import Tensor, nn

from samphony.model.base import NO_OBJ_SCORE, SAM2Base
from samphony.model.config import SAM2Config
from samphony.model.features import ImageFeatures
from samphony.model.outputs import SamHeadsOutput

# ------------------------------------------------------------------ mask heads


def heads_of(model: SAM2Base, picture: Tensor, points: object = None, **options: object) -> SamHeadsOutput:
    with torch.no_grad():
        features = model.forward_image(picture)
        embedding = model.no_memory_embedding(features)
        return model._forward_sam_heads(embedding, points, high_res_features=features.high_res, **options)


@pytest.mark.parametrize(("score", "absent"), [(3.0, False), (0.0, True), (-3.0, True), (float("nan"), True)])
def test_an_absent_object_has_minus_1024_everywhere(
    score: float, absent: bool, fresh_tiny_model: Fresh, tiny_config: SAM2Config, picture: Tensor
) -> None:
    model = fresh_tiny_model(tiny_config)
    set_score(model, score)
    heads = heads_of(model, picture, click(), multimask_output=True)
    assert bool((heads.low_res_multimasks == NO_OBJ_SCORE).all()) == absent
    assert bool((heads.high_res_masks == NO_OBJ_SCORE).all()) == absent
    assert bool(torch.equal(heads.obj_ptr, model.no_obj_ptr)) == absent


def test_without_object_scores_nothing_is_gated(
    fresh_tiny_model: Fresh, tiny_config: SAM2Config, picture: Tensor
) -> None:
    model = fresh_tiny_model(
        replace(tiny_config, mask_decoder=replace(tiny_config.mask_decoder, pred_obj_scores=False))
    )
    heads = heads_of(model, picture, click())
    assert bool((heads.low_res_masks > NO_OBJ_SCORE).all())
    assert float(heads.object_score_logits) == 10.0


@pytest.mark.parametrize(("fixed", "soft"), [(True, False), (False, False), (True, True), (False, True)])
def test_pointer_of_an_uncertain_object(
    fixed: bool, soft: bool, fresh_tiny_model: Fresh, tiny_config: SAM2Config, picture: Tensor
) -> None:
    model = fresh_tiny_model(replace(tiny_config, fixed_no_obj_ptr=fixed, soft_no_obj_ptr=soft))
    set_score(model, -1.0)
    there = float(torch.sigmoid(torch.tensor(-1.0))) if soft else 0.0
    got = heads_of(model, picture, click()).obj_ptr
    set_score(model, 1e4)
    pointer = heads_of(model, picture, click()).obj_ptr
    wanted = (there * pointer if fixed else pointer) + (1 - there) * model.no_obj_ptr
    assert torch.allclose(got, wanted, atol=1e-5)


def test_no_points_are_two_padding_tokens(tiny_model: SAM2Base, picture: Tensor) -> None:
    nothing = heads_of(tiny_model, picture, None)
    padding = heads_of(tiny_model, picture, click(0, 0, -1))
    assert torch.equal(nothing.low_res_masks, padding.low_res_masks)


def test_a_mask_prompt_of_another_size_is_resized(tiny_model: SAM2Base, picture: Tensor) -> None:
    mask = torch.randn(1, 1, 64, 64)
    small = nn.functional.interpolate(mask, (16, 16), mode="bilinear", align_corners=False, antialias=True)
    a = heads_of(tiny_model, picture, click(), mask_inputs=mask)
    b = heads_of(tiny_model, picture, click(), mask_inputs=small)
    assert torch.allclose(a.low_res_masks, b.low_res_masks, atol=1e-5)


def test_which_mask_is_kept_can_be_chosen(tiny_model: SAM2Base, picture: Tensor) -> None:
    def last(masks: Tensor, ious: Tensor, score: Tensor) -> Tensor:
        assert masks.shape[1] == ious.shape[1] == 3
        return torch.full((masks.shape[0],), 2)

    heads = heads_of(tiny_model, picture, click(), multimask_output=True, choose=last)
    assert torch.equal(heads.low_res_masks, heads.low_res_multimasks[:, 2:])


@pytest.mark.parametrize(
    ("is_first", "points", "expected"), [(True, 0, True), (True, 1, True), (True, 2, False), (False, 1, True)]
)
def test_how_many_masks_by_the_number_of_points(
    is_first: bool, points: int, expected: bool, tiny_model: SAM2Base
) -> None:
    given = {"point_coords": torch.zeros(1, points, 2), "point_labels": torch.ones(1, points)} if points else None
    assert tiny_model.use_multimask(is_first, given) is expected


def test_tracking_with_a_single_mask(fresh_tiny_model: Fresh, tiny_config: SAM2Config) -> None:
    model = fresh_tiny_model(replace(tiny_config, multimask_output_for_tracking=False))
    assert not model.use_multimask(False, None)
    assert model.use_multimask(True, None)


# ------------------------------------------------------------------ a mask as the answer


def test_a_given_mask_is_the_answer(tiny_model: SAM2Base, features: ImageFeatures) -> None:
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 16:48, 8:40] = 1
    with torch.no_grad():
        heads = tiny_model._use_mask_as_output(features.embedding, features.high_res, mask)
    assert torch.equal(heads.high_res_masks, mask * 20 - 10)
    assert heads.low_res_masks.shape == (1, 1, 16, 16)
    assert torch.equal(heads.low_res_masks > 0, nn.functional.max_pool2d(mask, 4) > 0)
    assert float(heads.object_score_logits) == 10.0
    assert torch.equal(heads.ious, torch.ones(1, 1))


def test_an_empty_mask_is_an_absent_object(tiny_model: SAM2Base, features: ImageFeatures) -> None:
    with torch.no_grad():
        heads = tiny_model._use_mask_as_output(features.embedding, features.high_res, torch.zeros(1, 1, 64, 64))
    assert torch.allclose(heads.low_res_masks, torch.full((1, 1, 16, 16), -10.0), atol=1e-4)
    assert float(heads.object_score_logits) == -10.0
    assert torch.equal(heads.obj_ptr, tiny_model.no_obj_ptr)


def test_its_pointer_is_gated_twice(fresh_tiny_model: Fresh, tiny_config: SAM2Config, picture: Tensor) -> None:
    """Even a mask that is there gets the pointer of an absent object, where the decoder itself sees none."""
    model = fresh_tiny_model(tiny_config)
    set_score(model, -5.0)
    with torch.no_grad():
        features = model.forward_image(picture)
        heads = model._use_mask_as_output(features.embedding, features.high_res, torch.ones(1, 1, 64, 64))
    assert torch.equal(heads.obj_ptr, model.no_obj_ptr)
    assert float(heads.object_score_logits) == 10.0


def test_its_pointer_does_not_see_the_no_memory_embedding(
    fresh_tiny_model: Fresh, tiny_config: SAM2Config, picture: Tensor
) -> None:
    model = fresh_tiny_model(tiny_config)
    set_score(model, 5.0)
    with torch.no_grad():
        features = model.forward_image(picture)
        mask = torch.ones(1, 1, 64, 64)
        before = model.track_step(features, recall=None, mask_inputs=mask)
        model.no_mem_embed.add_(3.0)
        after = model.track_step(features, recall=None, mask_inputs=mask)
        clicked = [model.track_step(features, recall=None, point_inputs=click()).obj_ptr]
        model.no_mem_embed.sub_(3.0)
        clicked.append(model.track_step(features, recall=None, point_inputs=click()).obj_ptr)
    assert torch.equal(before.obj_ptr, after.obj_ptr)
    assert not torch.allclose(*clicked)
