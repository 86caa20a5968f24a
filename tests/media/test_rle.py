from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samphony.errors import PromptError
from samphony.media.masks import decode_rle, encode_rle, encode_rle_uncompressed
from samphony.media.rle import compress_counts, join_runs, runs_to_counts, window_runs


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 12), st.floats(0, 1))
@settings(max_examples=80, deadline=None)
def test_windows_in_strips_give_the_code_of_the_whole(seed: int, height: int, width: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    runs = join_runs(window_runs(mask[:, x : x + 3], (x, 0), height) for x in range(0, width, 3))
    counts = runs_to_counts(runs, (height, width))
    assert counts == encode_rle_uncompressed(mask)["counts"]
    assert compress_counts(counts, (height, width)) == encode_rle(mask)


def test_a_window_of_a_huge_picture() -> None:
    runs = join_runs([window_runs(np.ones((3, 2), bool), (70_000, 50_000), 60_000)])
    assert runs.tolist() == [
        [70_000 * 60_000 + 50_000, 70_000 * 60_000 + 50_003],
        [70_001 * 60_000 + 50_000, 70_001 * 60_000 + 50_003],
    ]


def test_no_pixel_at_all() -> None:
    runs = join_runs([window_runs(np.zeros((3, 2), bool), (1, 1), 5)])
    assert runs_to_counts(runs, (5, 4)) == [20]
    assert not decode_rle(compress_counts([20], (5, 4))).any()


def test_runs_beyond_the_picture() -> None:
    with pytest.raises(PromptError, match="beyond the 20 pixels"):
        runs_to_counts(np.array([[18, 21]]), (5, 4))
