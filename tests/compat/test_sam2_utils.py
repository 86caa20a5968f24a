"""sam2.modeling.sam2_utils: the clicks of training scripts, and small helpers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from samphony.compat import sam2_utils
from samphony.errors import ConfigError


@pytest.fixture
def masks() -> tuple[torch.Tensor, torch.Tensor]:
    """Truth and prediction (2,1,24,32): the first misses a square of 9 and has 3 × 3 too much, the second is right."""
    truth = torch.zeros(2, 1, 24, 32, dtype=torch.bool)
    truth[:, :, 2:11, 4:13] = True
    prediction = truth.clone()
    prediction[0, :, 2:11, 4:13] = False
    prediction[0, :, 15:18, 20:23] = True
    return truth, prediction


def test_a_click_in_the_middle_of_the_largest_error(masks: tuple[torch.Tensor, torch.Tensor]) -> None:
    truth, prediction = masks
    points, labels = sam2_utils.sample_one_point_from_error_center(truth, prediction)
    assert points[0].tolist() == [[8.0, 6.0]]
    assert labels.tolist() == [[1], [0]]  # where nothing is wrong the click is negative
    points, labels = sam2_utils.get_next_point(prediction, truth, "center")
    assert (points[0].tolist(), labels[0].tolist()) == ([[8.0, 6.0]], [0])
    assert points.shape == (2, 1, 2)
    assert labels.dtype == torch.int32


def test_beyond_the_picture_is_outside_only_with_padding() -> None:
    truth = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    truth[..., :6, :] = True
    assert sam2_utils.sample_one_point_from_error_center(truth, None)[0][0, 0, 1] in (2, 3)
    assert sam2_utils.sample_one_point_from_error_center(truth, None, padding=False)[0][0, 0, 1] == 0


def test_random_clicks_lie_in_the_error(masks: tuple[torch.Tensor, torch.Tensor]) -> None:
    truth, prediction = masks
    points, labels = sam2_utils.sample_random_points_from_errors(truth, prediction, 50)
    assert (points.shape, labels.shape) == ((2, 50, 2), (2, 50))
    wrong = truth != prediction
    for (x, y), label in zip(points[0].long().tolist(), labels[0].tolist(), strict=True):
        assert wrong[0, 0, y, x]
        assert label == int(truth[0, 0, y, x])
    assert {0, 1} == set(labels[0].tolist())
    assert not truth[1, 0][points[1, :, 1].long(), points[1, :, 0].long()].any()
    assert labels[1].tolist() == [0] * 50
    _, labels = sam2_utils.get_next_point(truth, None, "uniform")
    assert labels.tolist() == [[1], [1]]
    with pytest.raises(ConfigError, match="method"):
        sam2_utils.get_next_point(truth, None, "corner")
    with pytest.raises(ConfigError, match="pred_masks must be boolean"):
        sam2_utils.get_next_point(truth, prediction.float(), "center")
    with pytest.raises(ConfigError, match="gt_masks must be boolean"):
        sam2_utils.get_next_point(truth[0], None, "center")


def test_loose_boxes(masks: tuple[torch.Tensor, torch.Tensor]) -> None:
    truth, _ = masks
    corners, labels = sam2_utils.sample_box_points(truth, noise=0)
    assert corners[0].tolist() == [[4, 2], [12, 10]]
    assert labels.tolist() == [[2, 3], [2, 3]]
    loose = torch.stack([sam2_utils.sample_box_points(truth, noise=0.5, noise_bound=3)[0] for _ in range(60)])
    moved = (loose - corners).abs()
    assert 2.0 < float(moved[..., 0].max()) <= 3.0
    assert float(loose.min()) >= 0.0


def test_conditioning_frames_that_are_recalled() -> None:
    outputs = {0: "a", 10: "b", 4: "c", 30: "d", 12: "e"}
    assert sam2_utils.select_closest_cond_frames(11, outputs, -1) == (outputs, {})
    selected, rest = sam2_utils.select_closest_cond_frames(11, outputs, 3)
    assert list(selected) == [10, 12, 4]
    assert rest == {0: "a", 30: "d"}
    assert list(sam2_utils.select_closest_cond_frames(40, outputs, 2)[0]) == [30, 12]
    with pytest.raises(ConfigError, match="at least 2"):
        sam2_utils.select_closest_cond_frames(11, outputs, 1)


def test_small_helpers() -> None:
    assert sam2_utils.get_activation_fn("gelu") is F.gelu
    with pytest.raises(ConfigError, match="activation"):
        sam2_utils.get_activation_fn("tanh")
    layer = nn.Linear(2, 2)
    clones = sam2_utils.get_clones(layer, 3)
    assert len(clones) == 3
    assert clones[0].weight is not layer.weight
    assert torch.equal(clones[0].weight, layer.weight)  # type: ignore[arg-type]
    assert sam2_utils.get_1d_sine_pe(torch.arange(3.0), 8).shape == (3, 8)
    with pytest.raises(ConfigError, match="temperature"):
        sam2_utils.get_1d_sine_pe(torch.arange(3.0), 8, temperature=20)
