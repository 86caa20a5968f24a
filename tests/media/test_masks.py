from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from samphony.errors import MediaError, PromptError
from samphony.media.masks import (
    clean_masks,
    decode_rle,
    encode_rle,
    encode_rle_uncompressed,
    label_components,
    load_mask,
    mask_boxes,
    save_mask,
    small_components,
)

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9))


def picture(*rows: str) -> np.ndarray:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


@given(MASKS)
def test_rle_round_trip(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_rle(encode_rle(mask)), mask)
    plain = encode_rle_uncompressed(mask)
    np.testing.assert_array_equal(decode_rle(plain), mask)
    assert coco.frPyObjects(dict(plain), *mask.shape)["counts"].decode() == encode_rle(mask)["counts"]


def test_rle_starts_with_zeros_column_by_column() -> None:
    assert encode_rle_uncompressed(picture("#.", "#.", ".#")) == {"size": [3, 2], "counts": [0, 2, 3, 1]}
    assert encode_rle_uncompressed(picture("..")) == {"size": [1, 2], "counts": [2]}


@pytest.mark.parametrize("counts", [[3], [5, -1], []])
def test_rle_that_does_not_fill_its_size(counts: list[int]) -> None:
    with pytest.raises(PromptError, match="runs sum to"):
        decode_rle({"size": [2, 2], "counts": counts})


@given(arrays(bool, (3, 5, 7)))
def test_boxes_hold_every_pixel_tightly(masks: np.ndarray) -> None:
    boxes = mask_boxes(masks)
    assert boxes.shape == (3, 4)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        ys, xs = np.nonzero(mask)
        expected = (xs.min(), ys.min(), xs.max(), ys.max()) if len(xs) else (0, 0, 0, 0)
        assert (x0, y0, x1, y1) == expected


def test_components_touch_at_corners() -> None:
    labels, areas = label_components(picture("#...", ".#..", "...#"))
    assert sorted(areas[1:].tolist()) == [1, 2]
    assert areas[0] == 9
    assert labels[0, 0] == labels[1, 1] != labels[2, 3]


def test_small_components_of_a_stack() -> None:
    mask = picture("##..#", "##...", "....#")
    found = small_components(np.stack([mask, np.zeros_like(mask)]), 1)
    np.testing.assert_array_equal(found[0], picture("....#", ".....", "....#"))
    assert not found[1].any()


@given(MASKS, st.integers(0, 10))
def test_small_components_agree_with_counting_each(mask: np.ndarray, area: int) -> None:
    labels, areas = label_components(mask)
    expected = np.array([[lab > 0 and areas[lab] <= area for lab in row] for row in labels], bool)
    np.testing.assert_array_equal(small_components(mask, area), expected.reshape(mask.shape))


def test_clean_masks() -> None:
    mask = picture("####...", "#.##..#", "####...")
    assert not (clean_masks(mask) ^ mask).any()
    full = clean_masks(mask, max_hole_area=1, max_sprinkle_area=1)
    np.testing.assert_array_equal(full, picture("####...", "####...", "####..."))
    assert not mask[1, 1], "the input is not touched"


def test_mask_file_round_trip(tmp_path: Path) -> None:
    mask = picture("#..", "..#")
    np.testing.assert_array_equal(load_mask(save_mask(tmp_path / "mask.png", mask)), mask)
    with pytest.raises(MediaError, match=r"none\.png"):
        load_mask(tmp_path / "none.png")


@pytest.mark.parametrize("mask", [np.zeros((2, 2)), np.zeros((1, 2, 2), bool)])
def test_masks_of_a_wrong_kind(mask: np.ndarray) -> None:
    with pytest.raises(PromptError, match=r"mask must be \(H, W\) bool"):
        encode_rle(mask)
