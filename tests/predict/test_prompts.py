"""Prompts are checked where they enter; a message names the argument."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from samphony.errors import PromptError
from samphony.predict.prompts import read_mask, read_prompts

SIZE = (16, 16)


def read(points: Any = None, labels: Any = None, box: Any = None, mask: Any = None) -> Any:
    return read_prompts(points, labels, box, mask, SIZE)


@pytest.mark.parametrize(
    ("points", "labels", "box", "mask", "argument", "says"),
    [
        ([[1, 2]], None, None, None, "point_labels", "must be given with point_coords"),
        (None, [1], None, None, "point_labels", "is given without point_coords"),
        ([1, 2], [1], None, None, "point_coords", r"must be \(N,2\) or \(B,N,2\), .* got \(2,\)"),
        ([[1, 2, 3]], [1], None, None, "point_coords", r"got \(1, 3\)"),
        ([[[[1, 2]]]], [1], None, None, "point_coords", r"got \(1, 1, 1, 2\)"),
        ([[1, 2], [3, 4]], [1], None, None, "point_labels", r"one label for each point, \(1, 2\), got \(1,\)"),
        ([[1, 2]], [[1], [0]], None, None, "point_labels", r"got \(2, 1\)"),
        ([[1, 2]], [4], None, None, "point_labels", "holds 4"),
        ([[1, 2]], [-2], None, None, "point_labels", "holds -2"),
        ([[1, 2]], [0.5], None, None, "point_labels", r"holds 0\.5"),
        ([[1, 2]], [float("nan")], None, None, "point_labels", "holds nan"),
        ([[float("nan"), 2]], [1], None, None, "point_coords", "NaN or infinite"),
        ([[1, float("inf")]], [1], None, None, "point_coords", "NaN or infinite"),
        ([["a", "b"]], [1], None, None, "point_coords", "must be an array of numbers"),
        ([[1, 2], [3]], [1, 1], None, None, "point_coords", "must be an array of numbers"),
        (object(), [1], None, None, "point_coords", "must be an array of numbers"),
        (None, None, [1, 2, 3], None, "box", r"must be \(4\) or \(B,4\), .* got \(3,\)"),
        (None, None, np.zeros((0, 4)), None, "box", r"got \(0, 4\)"),
        (None, None, [[[1, 2], [3, 4]]], None, "box", r"got \(1, 2, 2\)"),
        (None, None, [5, 2, 5, 9], None, "box", r"x0 < x1 and y0 < y1, got \[5.0, 2.0, 5.0, 9.0\]"),
        (None, None, [1, 9, 5, 2], None, "box", "x0 < x1"),
        (None, None, [[1, 2, 3, 4], [9, 9, 1, 1]], None, "box", r"got \[9.0, 9.0, 1.0, 1.0\]"),
        (None, None, [1, 2, 3, float("nan")], None, "box", "NaN or infinite"),
        ([[1, 2]], [1], [[1, 2, 3, 4], [1, 2, 5, 6]], None, "point_coords", "holds 1 prompts and box 2"),
        (None, None, None, np.zeros(7), "mask_input", r"must be \(H,W\).* got \(7,\)"),
        (None, None, None, np.zeros((1, 3, 4, 4)), "mask_input", r"got \(1, 3, 4, 4\)"),
        (None, None, None, np.zeros((0, 4, 4)), "mask_input", r"got \(0, 4, 4\)"),
        (None, None, None, np.full((16, 16), np.nan), "mask_input", "NaN or infinite"),
        (None, None, [[1, 2, 3, 4], [1, 2, 5, 6]], np.zeros((3, 16, 16)), "mask_input", "3 masks for 2 prompts"),
    ],
)
def test_what_cannot_be_used(points: Any, labels: Any, box: Any, mask: Any, argument: str, says: str) -> None:
    with pytest.raises(PromptError, match=says) as caught:
        read(points, labels, box, mask)
    assert str(caught.value).startswith(argument)


def test_names_in_messages_can_be_changed() -> None:
    with pytest.raises(PromptError, match=r"^box_batch\[3\]"):
        read_prompts(None, None, [1, 2, 0, 0], None, SIZE, ("a", "b", "box_batch[3]", "d"))


def test_one_form() -> None:
    prompts = read([[1, 2], [3, 4]], [1, 0], [5, 6, 7, 8])
    assert prompts.coords.tolist() == [[[5, 6], [7, 8], [1, 2], [3, 4]]]
    assert prompts.labels.tolist() == [[2, 3, 1, 0]]
    assert prompts.labels.dtype == torch.int32
    assert prompts.coords.dtype == torch.float32
    assert prompts.masks is None
    assert prompts.batch_size == 1


def test_batches() -> None:
    assert read([[[1, 2]], [[3, 4]]], [[1], [0]]).batch_size == 2
    assert read(box=np.ones((5, 4)).cumsum(1)).batch_size == 5
    assert read(mask=np.zeros((3, 16, 16))).batch_size == 3
    assert read(box=[[1, 2, 3, 4], [1, 2, 5, 6]], mask=np.zeros((16, 16))).batch_size == 2
    assert read().batch_size == 1
    assert read(box=torch.tensor([[[1, 2, 3, 4]], [[1, 2, 3, 4]]])).coords.shape == (2, 2, 2)


def test_an_empty_list_of_points_is_a_prompt_of_padding_as_officially() -> None:
    prompts = read(np.zeros((0, 2)), np.zeros(0))
    assert prompts.coords.shape == (1, 0, 2)
    assert read(np.zeros((1, 0, 2)), np.zeros((1, 0)), [1, 2, 3, 4]).coords.shape == (1, 2, 2)


def test_padding_and_corner_labels_are_accepted() -> None:
    assert read([[1, 2]] * 4, [-1, 2, 3, 0]).labels.tolist() == [[-1, 2, 3, 0]]
    assert read([[1, 2]], [True]).labels.tolist() == [[1]]


def test_given_arrays_are_left_alone() -> None:
    points, labels, box = np.array([[1.0, 2.0]]), np.array([1]), np.array([1.0, 2, 3, 4])
    prompts = read(points, labels, box)
    prompts.coords.zero_()
    assert points.tolist() == [[1, 2]]
    assert box.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("given", [bool, np.uint8, np.int64])
def test_boolean_and_integer_masks_are_plus_and_minus_ten(given: Any) -> None:
    mask = np.zeros(SIZE, bool)
    mask[3:9] = True
    logits = read_mask((mask * 255 if given is np.uint8 else mask).astype(given), SIZE)
    assert torch.equal(logits, torch.from_numpy(np.where(mask, np.float32(10), np.float32(-10)))[None, None])


def test_floats_of_the_right_size_are_logits_even_if_they_are_0_and_1() -> None:
    """As officially."""
    mask = np.zeros(SIZE, np.float32)
    mask[3:9] = 1
    assert torch.equal(read_mask(mask, SIZE), torch.from_numpy(mask)[None, None])


def test_floats_of_another_size_that_are_0_and_1_are_a_mask() -> None:
    mask = np.zeros((64, 64), np.float32)
    mask[16:48, 16:48] = 1
    assert torch.equal(read_mask(mask, SIZE), read_mask(mask > 0, SIZE))
    assert float(read_mask(mask, SIZE).max()) == pytest.approx(10, abs=1e-4)
    assert float(read_mask(mask * 3, SIZE).max()) == pytest.approx(3, abs=1e-4)
