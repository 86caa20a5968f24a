"""Grids, crops and non-maximum suppression."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from samphony.errors import ConfigError
from samphony.predict.automatic.crops import Crop, cut_off, make_crops
from samphony.predict.automatic.grids import given_grids, layer_grids, point_grid
from samphony.predict.automatic.nms import non_maximum_suppression


def test_grid_holds_cell_centres_row_by_row() -> None:
    np.testing.assert_allclose(
        point_grid(2), [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]], rtol=0, atol=1e-12
    )


def test_layers_get_coarser_grids() -> None:
    assert [len(g) for g in layer_grids(9, 2, 2)] == [81, 16, 4]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: point_grid(0), "points_per_side must be at least 1"),
        (lambda: layer_grids(4, 3, 2), "leaves no point in crop layer 3"),
        (lambda: layer_grids(4, 1, 0), "crop_n_points_downscale_factor"),
        (lambda: given_grids([np.zeros((3, 2))], 1), "each of the 2 layers"),
        (lambda: given_grids([np.zeros((3, 3))], 0), r"point_grids\[0\] must be points"),
        (lambda: given_grids([np.full((3, 2), 1.5)], 0), r"must lie in 0…1, got 1\.5"),
    ],
)
def test_grids_that_cannot_be(call: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()  # type: ignore[operator]


def test_one_layer_of_crops_column_by_column() -> None:
    # overlap = int(0.25 · 200 · 2/2) = 50, so that crops are ceil((50 + side) / 2)
    boxes = [c.box for c in make_crops((200, 300), 1, 0.25)]
    assert boxes == [(0, 0, 300, 200), (0, 0, 175, 125), (0, 75, 175, 200), (125, 0, 300, 125), (125, 75, 300, 200)]


@example(layers=3, height=40, width=41, ratio=0.0625)  # the last column would begin behind the picture
@given(st.integers(1, 3), st.integers(40, 300), st.integers(40, 300), st.floats(0.05, 0.5))
@settings(max_examples=30, deadline=None)
def test_crops_cover_the_picture(layers: int, height: int, width: int, ratio: float) -> None:
    crops = make_crops((height, width), layers, ratio)
    if min(height, width) > 100:
        assert len(crops) == sum(4**i for i in range(layers + 1))
    for layer in range(layers + 1):
        seen = np.zeros((height, width), bool)
        for crop in crops:
            if crop.layer == layer:
                crop.cut(seen)[...] = True
                assert crop.cut(seen).shape == crop.hw
                assert min(crop.hw) > 0
        assert seen.all()


def test_only_inner_edges_cut_off() -> None:
    crop = Crop((100, 0, 200, 100), 1)
    boxes = np.array(
        [
            [121, 30, 179, 79],  # 21 pixels away from every inner edge
            [120, 30, 179, 79],  # 20 pixels from the left edge
            [130, 0, 170, 60],  # at the top, which is the picture's top
            [130, 30, 180, 60],  # 20 from the right
        ]
    )
    assert cut_off(boxes, crop, (300, 400)).tolist() == [False, True, False, True]
    assert not cut_off(boxes, Crop((0, 0, 400, 300), 0), (300, 400)).any()


def plain_nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    """The definition, box by box."""
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        x0, y0, x1, y1 = boxes[i]
        for k in kept:
            a0, b0, a1, b1 = boxes[k]
            inter = max(min(x1, a1) - max(x0, a0), 0) * max(min(y1, b1) - max(y0, b0), 0)
            union = (x1 - x0) * (y1 - y0) + (a1 - a0) * (b1 - b0) - inter
            if union > 0 and float(np.float32(inter) / np.float32(union)) > threshold:
                break
        else:
            kept.append(i)
    return kept


@given(st.lists(st.tuples(*[st.integers(0, 12)] * 4, st.integers(0, 4)), max_size=25), st.sampled_from([0.3, 0.5, 0.7]))
@settings(max_examples=150, deadline=None)
def test_suppression_is_the_plain_one(rows: list[tuple[int, ...]], threshold: float) -> None:
    table = np.array(rows, np.int64).reshape(-1, 5)
    boxes = np.concatenate((np.minimum(table[:, :2], table[:, 2:4]), np.maximum(table[:, :2], table[:, 2:4])), axis=1)
    scores = (table[:, 4] / 4).astype(np.float32)  # many ties
    assert non_maximum_suppression(boxes, scores, threshold).tolist() == plain_nms(boxes, scores, threshold)


def test_suppression_of_many_is_fast_enough_and_sorted() -> None:
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 1000, (3000, 2))
    boxes = np.concatenate((corner, corner + rng.integers(5, 200, (3000, 2))), axis=1)
    scores = rng.random(3000).astype(np.float32)
    kept = non_maximum_suppression(boxes, scores, 0.5)
    assert (np.diff(scores[kept]) <= 0).all()
    assert 0 < len(kept) < 3000
