from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from samphony.predict.automatic.regions import remove_small_regions


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


@pytest.mark.parametrize("area", [3, 40])
def test_a_clean_mask_comes_back_itself(area: int) -> None:
    mask = np.zeros((40, 40), bool)
    mask[5:15, 5:15] = True
    assert remove_small_regions(mask, area) is mask
    empty = np.zeros((5, 5), bool)
    assert remove_small_regions(empty, area) is empty
