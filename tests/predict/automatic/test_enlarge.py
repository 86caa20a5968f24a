"""Counts, boxes and masks from low-resolution logits are those of F.interpolate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from samphony.media.masks import mask_boxes
from samphony.predict.automatic import enlarge
from samphony.predict.automatic.enlarge import Enlargement
from samphony.predict.automatic.proposals import LogitPatch

LEVELS = (1.0, 0.0, -1.0)


def blobs(low: tuple[int, int], seed: int, count: int = 4) -> Tensor:
    """Smooth maps, one of noise and one that is nowhere above."""
    generator = torch.Generator().manual_seed(seed)
    smooth = F.interpolate(torch.randn(count, 1, 5, 5, generator=generator) * 8, low, mode="bicubic")[:, 0]
    return torch.cat((smooth, torch.randn(1, *low, generator=generator) * 8, torch.full((1, *low), -7.0)))


def at_full_size(logits: Tensor, full: tuple[int, int]) -> Tensor:
    return F.interpolate(logits[:, None], full, mode="bilinear", align_corners=False)[:, 0]


@pytest.mark.parametrize("full", [(64, 48), (37, 211), (16, 12), (9, 7), (100, 12), (1, 1), (333, 250)])
def test_measures_are_exact(full: tuple[int, int]) -> None:
    low = (16, 12)
    logits = blobs(low, seed=full[0])
    measures = Enlargement(low, full, torch.device("cpu")).measure(logits, LEVELS, 0.0)
    large = at_full_size(logits, full)
    expected = torch.stack([(large > t).flatten(1).sum(1) for t in LEVELS], dim=1)
    assert measures.counts.dtype == torch.int64
    assert measures.counts.tolist() == expected.tolist()
    np.testing.assert_array_equal(measures.boxes.numpy(), mask_boxes((large > 0).numpy()))
    assert measures.boxes[-1].tolist() == [0, 0, 0, 0]


@given(st.integers(2, 20), st.integers(2, 20), st.integers(1, 90), st.integers(1, 90), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_painted_masks_are_exact(h: int, w: int, height: int, width: int, seed: int) -> None:
    logits = blobs((h, w), seed, count=1)
    enlargement = Enlargement((h, w), (height, width), torch.device("cpu"))
    for threshold in (0.0, 2.5):
        expected = (at_full_size(logits, (height, width)) > threshold).numpy()
        for i in range(len(logits)):
            mask = enlargement.paint(logits[i], threshold)
            assert mask.flags.f_contiguous
            np.testing.assert_array_equal(mask, expected[i])
            patch = LogitPatch.cut(logits[i].numpy(), threshold)
            np.testing.assert_array_equal(enlargement.paint(patch.restore(), threshold), expected[i])


def test_many_passes_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = blobs((16, 16), seed=3)
    enlargement = Enlargement((16, 16), (90, 70), torch.device("cpu"))
    whole = enlargement.measure(logits, LEVELS, 0.0)
    monkeypatch.setattr(enlarge, "PIXELS_PER_PASS", 100)
    parts = enlargement.measure(logits, LEVELS, 0.0)
    assert parts.counts.tolist() == whole.counts.tolist()
    assert parts.boxes.tolist() == whole.boxes.tolist()


def test_work_does_not_grow_with_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels that are computed: those along the outline, not those of the picture."""
    logits = blobs((64, 64), seed=1, count=1)[:1]
    computed = []
    original = enlarge._Cells.enlarge

    def counting(self: enlarge._Cells, n: Tensor, y: Tensor, x: Tensor, *axes: enlarge.Axis) -> Tensor:
        pixels = original(self, n, y, x, *axes)
        computed.append(pixels.numel())
        return pixels

    monkeypatch.setattr(enlarge._Cells, "enlarge", counting)
    Enlargement((64, 64), (1024, 1024), torch.device("cpu")).measure(logits, (0.0,), 0.0)
    assert 0 < sum(computed) < 0.15 * 1024 * 1024


def test_autocast_does_not_round_counts() -> None:
    logits = blobs((16, 16), seed=5)
    enlargement = Enlargement((16, 16), (300, 500), torch.device("cpu"))
    plain = enlargement.measure(logits, LEVELS, 0.0)
    with torch.autocast("cpu", torch.bfloat16):
        cast = enlargement.measure(logits, LEVELS, 0.0)
    assert cast.counts.tolist() == plain.counts.tolist()


def test_patches_are_as_small_as_their_masks() -> None:
    logits = np.full((64, 64), -3.0, np.float32)
    logits[10:14, 20:22] = 5.0
    patch = LogitPatch.cut(logits, 0.0)
    assert patch.values.shape == (6, 4)
    assert patch.origin == (9, 19)
