from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from samphony.media.regions import remove_small_regions, tidy_mask


def plain(mask: np.ndarray, area: float) -> np.ndarray:
    """The definition on the whole picture: small holes first, then small islands, the largest always stays."""
    corner = np.ones((3, 3))
    holes, count = ndimage.label(~mask, corner)
    filled = mask.copy()
    for k in range(1, count + 1):
        if (holes == k).sum() < area:
            filled |= holes == k
    islands, count = ndimage.label(filled, corner)
    sizes = [(islands == k).sum() for k in range(1, count + 1)]
    keep = [k for k, size in enumerate(sizes, 1) if size >= area] or [int(np.argmax(sizes)) + 1]
    return np.isin(islands, keep)


@given(st.integers(0, 10_000), st.integers(1, 30), st.sampled_from([0.3, 0.6, 0.9]), st.booleans())
@settings(max_examples=80, deadline=None)
def test_it_is_the_plain_definition(seed: int, area: int, share: float, confined: bool) -> None:
    rng = np.random.default_rng(seed)
    mask = ndimage.uniform_filter(rng.random((24, 31)), 2) < np.quantile(rng.random(400), share)
    if confined:
        mask[:7] = mask[:, 20:] = False
    if not mask.any():
        return
    np.testing.assert_array_equal(remove_small_regions(mask, area), plain(mask, area))


@pytest.mark.parametrize("area", [0, 3, 40])
def test_a_clean_mask_comes_back_itself(area: int) -> None:
    mask = np.zeros((40, 40), bool)
    mask[5:15, 5:15] = True
    assert remove_small_regions(mask, area) is mask
    empty = np.zeros((5, 5), bool)
    assert remove_small_regions(empty, area) is empty


@pytest.fixture
def untidy() -> np.ndarray:
    """100 × 100: a block of 30 × 40 with holes of 4 and 16 pixels, and specks of 4 and 16 beside it."""
    mask = np.zeros((100, 100), bool)
    mask[10:40, 10:50] = True
    mask[20:22, 20:22] = mask[30:34, 30:34] = False
    mask[60:62, 60:62] = mask[70:74, 70:74] = True
    return mask


def test_a_shown_mask_has_no_small_specks_and_holes(untidy: np.ndarray) -> None:
    tidied = tidy_mask(untidy, 0.001)  # 10 pixels
    expected = untidy.copy()
    expected[20:22, 20:22], expected[60:62, 60:62] = True, False
    np.testing.assert_array_equal(tidied, expected)
    assert tidy_mask(untidy, 0.002)[~untidy].sum() == 20, "20 pixels: both holes"
    np.testing.assert_array_equal(tidy_mask(untidy, 0), untidy)


def test_what_is_clicked_stays(untidy: np.ndarray) -> None:
    tidied = tidy_mask(untidy, 0.002, [(61.9, 60.0), (20, 21), (0, 0)], [1, 0, 0])
    expected = untidy.copy()
    expected[30:34, 30:34], expected[70:74, 70:74] = True, False
    np.testing.assert_array_equal(tidied, expected)
    wrong = tidy_mask(untidy, 0.002, [(61, 61), (20, 21), (70, 70), (500, -3)], [0, 1, -1, 1])
    np.testing.assert_array_equal(wrong, tidy_mask(untidy, 0.002), "clicks that disagree with the mask change nothing")


def test_small_objects_may_be_made_of_small_pieces() -> None:
    mask = np.zeros((100, 100), bool)
    mask[10:14, 10:14] = mask[10:14, 20:23] = True
    np.testing.assert_array_equal(tidy_mask(mask, 0.1), mask)
    empty = np.zeros((5, 5), bool)
    assert not tidy_mask(empty, 0.1).any()
