"""Rates by layer and by step, and the moving average."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from samphony.train.optim import MovingAverage, build_optimizer, rate_factor, set_rate
from samphony.train.recipe import OptimRecipe
from tests.train.conftest import miniature


def test_rates_fall_towards_the_input_and_norms_do_not_decay() -> None:
    model = miniature()
    recipe = OptimRecipe(lr=1.0, trunk_lr=0.5, layer_decay=0.9, weight_decay=0.1)
    optimizer = build_optimizer(model, recipe)
    found = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    names = dict(model.named_parameters())
    assert len(found) == len(names)
    blocks = len(model.image_encoder.trunk.blocks)
    assert found[id(names["sam_mask_decoder.iou_prediction_head.layers.0.weight"])] == (1.0, 0.1)
    assert found[id(names["image_encoder.neck.convs.0.conv.bias"])] == (1.0, 0.0)
    assert found[id(names["memory_attention.norm.weight"])] == (1.0, 0.0)
    for name, block in (("stem", 0), ("blocks.0.project", 0), (f"blocks.{blocks - 1}.project", blocks - 1)):
        rate, decay = found[id(names[f"image_encoder.trunk.{name}.weight"])]
        assert rate == pytest.approx(0.5 * 0.9 ** (blocks - block))
        assert decay == 0.1


def test_the_trunks_rates_can_go_by_the_scale_of_its_tensors() -> None:
    model = miniature()
    trunk = model.image_encoder.trunk
    with torch.no_grad():
        trunk.blocks[-1].project.weight.fill_(0.1)
        trunk.blocks[-1].project.bias.zero_()
    recipe = OptimRecipe(lr=1.0, trunk_lr=0.5, layer_decay=0.9, trunk_by_scale=True)
    optimizer = build_optimizer(model, recipe)
    found = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    near = 2**0.125  # quarter octaves
    assert found[id(trunk.blocks[-1].project.weight)] == pytest.approx(0.5 * 0.9 * 0.1 / 0.05, rel=near - 1)
    assert found[id(trunk.blocks[-1].project.bias)] == pytest.approx(0.5 * 0.9 * 0.005 / 0.05, rel=near - 1), "not zero"
    assert found[id(model.image_encoder.neck.convs[0].conv.bias)] == 1.0
    rates = {g["lr"] for g in optimizer.param_groups}
    assert all(4 * math.log2(rate) == pytest.approx(round(4 * math.log2(rate))) for rate in rates), "few groups"


def test_frozen_parameters_are_left_out() -> None:
    model = miniature()
    optimizer = build_optimizer(model, OptimRecipe(freeze=("image_encoder.trunk.", "memory_")))
    trained = {id(p) for g in optimizer.param_groups for p in g["params"]}
    for name, p in model.named_parameters():
        assert (id(p) in trained) == p.requires_grad == (not name.startswith(("image_encoder.trunk.", "memory_")))


def test_the_schedule_warms_up_holds_and_falls() -> None:
    recipe = OptimRecipe(warmup=10, hold=0.5, final=0.1)
    assert rate_factor(0, 100, recipe) == pytest.approx(0.1)
    assert rate_factor(9, 100, recipe) == pytest.approx(1.0)
    assert rate_factor(50, 100, recipe) == 1.0
    assert rate_factor(75, 100, recipe) == pytest.approx(0.55)
    assert rate_factor(100, 100, recipe) == pytest.approx(0.1)
    falling = [rate_factor(s, 100, recipe) for s in range(50, 101)]
    assert falling == sorted(falling, reverse=True)


def test_rates_are_scaled_from_the_base() -> None:
    optimizer = build_optimizer(miniature(), OptimRecipe(lr=0.5))
    set_rate(optimizer, 0.5)
    set_rate(optimizer, 0.1)
    assert max(g["lr"] for g in optimizer.param_groups) == pytest.approx(0.05)


def test_the_average_follows_and_swaps() -> None:
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.zero_()
    average = MovingAverage(model, decay=0.9)
    with torch.no_grad():
        model.weight.fill_(1.0)
    average.update(model, step=10_000)
    torch.testing.assert_close(average.values[0], torch.full((1, 2), 0.1))
    average.exchange(model)
    torch.testing.assert_close(model.weight.detach(), torch.full((1, 2), 0.1))
    average.exchange(model)
    torch.testing.assert_close(model.weight.detach(), torch.ones(1, 2))
    torch.testing.assert_close(average.values[0], torch.full((1, 2), 0.1))
    young = MovingAverage(model, decay=0.9)
    with torch.no_grad():
        model.weight.fill_(2.0)
    young.update(model, step=0)
    torch.testing.assert_close(young.values[0], torch.full((1, 2), 1.9))
