"""Gradients flow through whole steps, also after the same model has been used for inference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from samphony.model.base import SAM2Base
from samphony.model.config import SAM2Config
from samphony.model.memory import PointerMemory, Recall, SpatialMemory

POINT = {"point_coords": torch.tensor([[[20.0, 30.0]]]), "point_labels": torch.tensor([[1]], dtype=torch.int32)}
UNUSED = {"no_mem_pos_enc"}
"""In every checkpoint, and used by no released model."""


def clip_loss(model: SAM2Base, x: torch.Tensor) -> torch.Tensor:
    """A clicked frame, a tracked one and one with a given mask, each remembering those before."""
    features = model.forward_image(x)
    first = model.track_step(features, recall=None, point_inputs=POINT)
    memories = [SpatialMemory(first.memory, first.memory_position, 0)]
    pointers = [PointerMemory(first.obj_ptr, 1.0)]
    second = model.track_step(features, recall=Recall(tuple(memories), tuple(pointers), 15))
    memories.append(SpatialMemory(second.memory, second.memory_position, model.num_maskmem - 1))
    pointers.append(PointerMemory(second.obj_ptr, 2.0))
    prior = second.low_res_masks
    corners = {"point_coords": torch.rand(1, 3, 2) * 64, "point_labels": torch.tensor([[2, 3, 0]])}
    third = model.track_step(
        features, recall=Recall(tuple(memories), tuple(pointers), 15), point_inputs=corners, prev_low_res_logits=prior
    )
    mask = (torch.rand(1, 1, 64, 64) > 0.5).float()
    given = model.track_step(features, recall=None, mask_inputs=mask)
    frames = (first, second, third, given)
    loss = sum(f.heads.low_res_multimasks.sigmoid().mean() + f.heads.ious.mean() for f in frames)
    loss = loss + sum(f.object_score_logits.mean() + f.obj_ptr.mean() + f.memory.square().mean() for f in frames)
    assert isinstance(loss, torch.Tensor)
    return loss


@pytest.fixture
def model(fresh_tiny_model: Callable[[SAM2Config], SAM2Base], tiny_config: SAM2Config) -> SAM2Base:
    model = fresh_tiny_model(replace(tiny_config, soft_no_obj_ptr=True))
    bias = model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias
    torch.nn.init.constant_(bias, 2.0)  # present, so that masks have gradients
    return model


@pytest.mark.parametrize("train", [True, False])
def test_gradients_reach_every_parameter(model: SAM2Base, train: bool) -> None:
    torch.manual_seed(0)
    clip_loss(model.train(train), torch.randn(1, 3, 64, 64)).backward()
    missing = {
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not bool(parameter.grad.isfinite().all())
    }
    assert {name.split(".")[0] for name in missing - UNUSED} <= {"no_obj_embed_spatial"}
    assert float(model.image_encoder.trunk.patch_embed.proj.weight.grad.abs().sum()) > 0
    assert float(model.memory_encoder.mask_downsampler.encoder[0].weight.grad.abs().sum()) > 0
    assert float(model.mask_downsample.weight.grad.abs().sum()) > 0


def test_training_after_inference(model: SAM2Base) -> None:
    """Tables and codes that were made under inference_mode are used again with gradients."""
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        clip_loss(model, x)
    with torch.no_grad():
        clip_loss(model, x)
    clip_loss(model.train(), x).backward()
    with torch.inference_mode():
        clip_loss(model.eval(), x)


def test_a_few_steps_lower_the_loss(model: SAM2Base) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 64, 64)
    target = torch.zeros(1, 1, 16, 16)
    target[..., 4:12, 4:12] = 1
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(8):
        out = model.track_step(
            model.forward_image(x),
            recall=None,
            point_inputs=POINT,
            run_memory_encoder=False,
            choose=lambda masks, ious, score: torch.zeros(1).long(),
        )
        loss = torch.nn.functional.binary_cross_entropy_with_logits(out.low_res_masks, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_only_the_decoder_is_trained_when_the_encoder_is_frozen(model: SAM2Base) -> None:
    model.image_encoder.requires_grad_(False)
    clip_loss(model.train(), torch.randn(1, 3, 64, 64)).backward()
    assert all(p.grad is None for p in model.image_encoder.parameters())
    assert model.sam_mask_decoder.iou_token.weight.grad is not None
