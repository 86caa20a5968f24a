"""J and F on cases worked by hand, with the definitions of the public DAVIS 2017 evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from samphony.evaluate.metrics import Mask, boundary_f, contour, jaccard


def _mask(rows: list[str]) -> Mask:
    return np.array([[c == "#" for c in row] for row in rows])


def _square(size: int, y0: int, y1: int, x0: int, x1: int) -> Mask:
    mask = np.zeros((size, size), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


EMPTY = np.zeros((8, 8), dtype=bool)


def test_jaccard() -> None:
    a, b = _square(8, 0, 4, 0, 4), _square(8, 2, 6, 0, 4)
    assert jaccard(a, b) == 8 / 24
    assert jaccard(a, a) == 1.0
    assert jaccard(EMPTY, EMPTY) == 1.0
    assert jaccard(a, EMPTY) == jaccard(EMPTY, a) == 0.0


def test_void_pixels_do_not_count() -> None:
    a, b = _square(8, 0, 4, 0, 4), _square(8, 2, 6, 0, 4)
    void = _square(8, 0, 2, 0, 8)
    assert jaccard(a, b, void) == 8 / 16
    assert jaccard(a, EMPTY, _square(8, 0, 4, 0, 4)) == 1.0
    assert boundary_f(a, EMPTY, _square(8, 0, 4, 0, 4)) == 1.0


def test_contours_lie_up_and_left_of_the_change() -> None:
    # Worked by hand from the definition: a pixel differs from its right, lower or lower right neighbour. The last row
    # looks only to the right, the last column only down.
    mask = _mask(["....", ".##.", ".##.", "...."])
    assert (contour(mask) == _mask(["###.", "#.#.", "###.", "...."])).all()
    corner = _mask(["....", "....", "..##", "..##"])
    assert (contour(corner) == _mask(["....", ".###", ".#..", ".#.."])).all()
    assert not contour(np.ones((3, 3), dtype=bool)).any(), "a full picture has no contour"


@pytest.mark.parametrize(
    ("mask", "truth", "expected"),
    [
        (EMPTY, EMPTY, 1.0),
        (EMPTY, _square(8, 2, 6, 2, 6), 0.0),
        (_square(8, 2, 6, 2, 6), EMPTY, 0.0),
        (np.ones((8, 8), dtype=bool), np.ones((8, 8), dtype=bool), 1.0),
        (np.ones((8, 8), dtype=bool), _square(8, 2, 6, 2, 6), 0.0),
    ],
)
def test_empty_contours(mask: Mask, truth: Mask, expected: float) -> None:
    assert boundary_f(mask, truth) == expected


def test_contours_match_within_the_tolerance() -> None:
    # Diagonal of 100 × 100: 141.4 · 0.008 = 1.13, so the tolerance is 2 pixels.
    truth = _square(100, 20, 60, 20, 60)
    assert boundary_f(_square(100, 20, 60, 22, 62), truth) == 1.0
    assert boundary_f(_square(100, 20, 60, 20, 60), truth) == 1.0
    assert boundary_f(_square(100, 40, 41, 40, 41), truth) == 0.0


def test_precision_and_recall_are_told_apart() -> None:
    # Contours are the 41-pixel sides of a square ring (160 pixels: 4 · 40). A mask three pixels wider on the right
    # leaves its right side alone (precision) and the true right side unmatched (recall).
    truth, mask = _square(100, 20, 60, 20, 60), _square(100, 20, 60, 20, 63)
    a, b = contour(mask), contour(truth)
    assert (a.sum(), b.sum()) == (166, 160)
    # Right side of the mask: column 62, rows 19…59; matched within 2 pixels are those beside the true top and bottom.
    # Column 62 is 3 away from the true right side at column 59; top and bottom rows reach to column 59 only, so of the
    # mask's contour columns 62 (41 pixels) is unmatched; its top and bottom at column 61 are 2 away and matched.
    # The true right side (column 59) is unmatched but for the rows within 2 pixels of the mask's top and bottom.
    unmatched_mask, unmatched_truth = 41, 41 - 6
    precision, recall = 1 - unmatched_mask / 166, 1 - unmatched_truth / 160
    assert boundary_f(mask, truth) == pytest.approx(2 * precision * recall / (precision + recall))
