"""Losses against numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from samphony.train.losses import best_of, dice_loss, enlarge, focal_loss, object_score_loss, true_iou

LOGITS = torch.tensor([[[2.0, -2.0], [0.0, -4.0]]])
TARGET = torch.tensor([[[1.0, 0.0], [1.0, 1.0]]])
ALL = torch.ones(1, 2, 2)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_focal_loss() -> None:
    terms = []
    for x, t in zip(LOGITS.flatten().tolist(), TARGET.flatten().tolist(), strict=True):
        p_t = _sigmoid(x) if t else 1 - _sigmoid(x)
        terms.append((0.25 if t else 0.75) * (1 - p_t) ** 2 * -math.log(p_t))
    assert float(focal_loss(LOGITS, TARGET, ALL)) == pytest.approx(sum(terms) / 4, rel=1e-5)


def test_pixels_to_ignore_do_not_count() -> None:
    valid = torch.tensor([[[1.0, 1.0], [1.0, 0.0]]])
    other = LOGITS.clone()
    other[0, 1, 1] = 9.0
    for loss in (focal_loss, dice_loss, true_iou):
        assert torch.equal(loss(LOGITS, TARGET, valid), loss(other, TARGET, valid))
        assert not torch.equal(loss(LOGITS, TARGET, ALL), loss(other, TARGET, ALL))


def test_dice_loss() -> None:
    p = [_sigmoid(x) for x in (2.0, -2.0, 0.0, -4.0)]
    expected = 1 - (2 * (p[0] + p[2] + p[3]) + 1) / (sum(p) + 3 + 1)
    assert float(dice_loss(LOGITS, TARGET, ALL)) == pytest.approx(expected, rel=1e-5)


def test_true_iou() -> None:
    assert float(true_iou(LOGITS, TARGET, ALL)) == pytest.approx(1 / 3)
    empty = torch.full((1, 2, 2), -1.0)
    assert float(true_iou(empty, torch.zeros(1, 2, 2), ALL)) == 0.0


def test_the_best_of_three_is_the_one_nearest_to_the_target() -> None:
    target = (torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    good = (target - 0.5) * 8
    logits = torch.stack((-good, good, torch.zeros_like(good)), dim=1)
    assert best_of(logits, target, torch.ones_like(target), 20.0, 1.0).tolist() == [1, 1]


def test_object_score_loss_is_cross_entropy() -> None:
    loss = object_score_loss(torch.tensor([[0.0], [3.0]]), torch.tensor([True, False]))
    assert loss.tolist() == pytest.approx([math.log(2), math.log(1 + math.exp(3))], rel=1e-5)


def test_enlarging_keeps_a_mask_of_the_right_size() -> None:
    x = torch.rand(1, 2, 4, 4)
    assert enlarge(x, 4) is x
    assert enlarge(x, 8).shape == (1, 2, 8, 8)
