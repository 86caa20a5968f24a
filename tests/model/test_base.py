"""The conductor: parts can be swapped; masks, pointers and memories follow SAM 2's rules, in 2.0 and in 2.1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from samphony.model.base import NO_OBJ_SCORE, SAM2Base, non_overlapping
from samphony.model.build import build_model
from samphony.model.config import SAM2Config
from samphony.model.features import ImageFeatures
from samphony.model.memory import PointerMemory, Recall, SpatialMemory
from samphony.model.memory_encoder import EncodedMemory
from samphony.model.outputs import SamHeadsOutput
from samphony.model.position import sine_position_1d

Fresh = Callable[[SAM2Config], SAM2Base]


@pytest.fixture
def picture() -> Tensor:
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def features(tiny_model: SAM2Base, picture: Tensor) -> ImageFeatures:
    with torch.no_grad():
        return tiny_model.forward_image(picture)


def click(x: float = 20.0, y: float = 30.0, label: int = 1, batch: int = 1) -> dict[str, Tensor]:
    return {
        "point_coords": torch.tensor([[[x, y]]]).repeat(batch, 1, 1),
        "point_labels": torch.full((batch, 1), label, dtype=torch.int32),
    }


def recall(batch: int = 1, spatial: int = 2, pointers: int = 2, seed: int = 1) -> Recall:
    generator = torch.Generator().manual_seed(seed)
    return Recall(
        tuple(
            SpatialMemory(
                torch.randn(batch, 8, 4, 4, generator=generator), torch.randn(1, 8, 4, 4, generator=generator), t
            )
            for t in range(spatial)
        ),
        tuple(PointerMemory(torch.randn(batch, 32, generator=generator), float(i + 1)) for i in range(pointers)),
        max_offset=15,
    )


def set_score(model: SAM2Base, value: float) -> None:
    """Let the decoder predict this object score, whatever it sees."""
    last = model.sam_mask_decoder.pred_obj_score_head.layers[-1]
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, value)


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


# ------------------------------------------------------------------ memories


def test_a_prompted_mask_is_binarised_where_the_configuration_says_so(
    fresh_tiny_model: Fresh, tiny_config: SAM2Config, features: ImageFeatures
) -> None:
    model = fresh_tiny_model(replace(tiny_config, binarize_mask_from_pts_for_mem_enc=True))
    seen: list[Tensor] = []

    class Notes(nn.Module):
        def forward(self, pix_feat: Tensor, masks: Tensor, skip_mask_sigmoid: bool = False) -> EncodedMemory:
            assert skip_mask_sigmoid
            seen.append(masks)
            return EncodedMemory(torch.zeros(1, 8, 4, 4), torch.zeros(1, 8, 4, 4))

    model.memory_encoder = Notes()
    logits, score = torch.tensor([-1.0, 0.0, 2.0]).reshape(1, 1, 1, 3), torch.ones(1, 1)
    for from_points in (True, False):
        model.encode_memory(features, logits, score, from_points)
    model.train().encode_memory(features, logits, score, True)
    assert seen[0].flatten().tolist() == [-10.0, -10.0, 10.0]
    assert torch.allclose(seen[1], logits.sigmoid() * 20 - 10)
    assert torch.equal(seen[2], seen[1])


def test_the_memory_of_an_absent_object_says_so_in_2_1(
    fresh_tiny_model: Fresh, tiny_config: SAM2Config, features: ImageFeatures
) -> None:
    masks = torch.randn(1, 1, 64, 64)
    for version, differs in (("2.1", True), ("2.0", False)):
        config = replace(tiny_config, no_obj_embed_spatial=version == "2.1")
        model = fresh_tiny_model(config)
        with torch.no_grad():
            there = model.encode_memory(features, masks, torch.full((1, 1), 0.1), False).features
            absent = model.encode_memory(features, masks, torch.zeros(1, 1), False).features
        assert bool(torch.equal(there, absent)) != differs
        if model.no_obj_embed_spatial is not None:
            assert torch.allclose(absent - there, model.no_obj_embed_spatial[..., None, None], atol=1e-6)


def test_without_memories_a_frame_gets_the_no_memory_embedding(tiny_model: SAM2Base, features: ImageFeatures) -> None:
    wanted = features.embedding + tiny_model.no_mem_embed.reshape(1, -1, 1, 1)
    assert torch.equal(tiny_model.condition_on_memory(features, None), wanted)
    assert torch.equal(tiny_model.condition_on_memory(features, Recall()), wanted)


def test_objects_together_equal_objects_alone(tiny_model: SAM2Base, features: ImageFeatures) -> None:
    together = recall(batch=3)
    with torch.no_grad():
        out = tiny_model.condition_on_memory(features, together)
        for i in range(3):
            alone = Recall(
                tuple(replace(m, features=m.features[i : i + 1]) for m in together.spatial),
                tuple(replace(p, pointer=p.pointer[i : i + 1]) for p in together.pointers),
                together.max_offset,
            )
            assert torch.allclose(out[i : i + 1], tiny_model.condition_on_memory(features, alone), atol=1e-5)


def test_pointer_ages_of_2_0_and_2_1(fresh_tiny_model: Fresh, tiny_config: SAM2Config) -> None:
    like = torch.zeros(1, 2, 32)
    new = fresh_tiny_model(tiny_config)
    codes = new._pointer_codes([3.0, -5.0], 15, like)
    assert torch.allclose(codes, new.obj_ptr_tpos_proj(sine_position_1d(torch.tensor([3.0, -5.0]) / 15, 32)))
    old = fresh_tiny_model(replace(tiny_config, add_tpos_enc_to_obj_ptrs=False, proj_tpos_enc_in_obj_ptrs=False))
    assert torch.equal(old._pointer_codes([3.0, -5.0], 15, like), torch.zeros(2, 8))
    assert isinstance(old.obj_ptr_tpos_proj, nn.Identity)


def test_a_clip_of_one_frame_has_finite_ages(tiny_model: SAM2Base) -> None:
    assert bool(tiny_model._pointer_codes([0.0], 0, torch.zeros(1, 1, 32)).isfinite().all())


def test_age_of_a_memory_counts_from_the_newest(tiny_model: SAM2Base) -> None:
    """t_pos 0, a prompted frame, reads the last code; the frame just before, the first."""
    last = tiny_model.num_maskmem - 1
    for t_pos, index in ((0, last), (last, 0)):
        memory = SpatialMemory(torch.zeros(1, 8, 4, 4), torch.zeros(1, 8, 4, 4), t_pos)
        tokens = tiny_model._memory_tokens(Recall((memory,)))
        assert torch.equal(tokens.positions[0, 0], tiny_model.maskmem_tpos_enc[index, 0, 0])


def test_non_overlapping_keeps_the_strongest() -> None:
    masks = torch.tensor([3.0, -20.0, -3.0]).reshape(3, 1, 1, 1)
    assert non_overlapping(masks).flatten().tolist() == [3.0, -20.0, -10.0]
    assert non_overlapping(masks[:1]) is masks[:1] or torch.equal(non_overlapping(masks[:1]), masks[:1])


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
