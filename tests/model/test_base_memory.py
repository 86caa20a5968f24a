"""The conductor's memories: how they are encoded, gated, aged and read, in 2.0 and in 2.1."""

from __future__ import annotations

from dataclasses import replace

import torch
from tests.model.conftest import Fresh, recall
from torch import Tensor, nn

from samphony.model.base import SAM2Base, non_overlapping
from samphony.model.config import SAM2Config
from samphony.model.features import ImageFeatures
from samphony.model.memory import Recall, SpatialMemory
from samphony.model.memory_encoder import EncodedMemory
from samphony.model.position import sine_position_1d


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
