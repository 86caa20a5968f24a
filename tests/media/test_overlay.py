from __future__ import annotations

import numpy as np
import pytest

from samphony.errors import PromptError
from samphony.media.overlay import cutout, distinct_colours, draw_boxes, draw_clicks, draw_masks

MASK = np.zeros((48, 80), bool)
MASK[12:36, 24:56] = True


def test_colours_are_distinct_and_stable() -> None:
    colours = distinct_colours(200)
    assert colours.dtype == np.uint8
    assert len(np.unique(colours, axis=0)) == 200
    np.testing.assert_array_equal(colours[:5], distinct_colours(5))
    assert distinct_colours(0).shape == (0, 3)
    gaps = np.abs(colours[:12, None].astype(int) - colours[None, :12]).sum(-1) + 999 * np.eye(12, dtype=int)
    assert gaps.min() > 60


def test_masks_are_tinted_and_outlined(photo: np.ndarray) -> None:
    before = photo.copy()
    drawn = draw_masks(photo, MASK, colours=[(0, 0, 255)], opacity=0.5, outline=2)
    np.testing.assert_array_equal(photo, before)
    np.testing.assert_array_equal(drawn[~MASK], photo[~MASK])
    assert (drawn[12:14, 24:56] == (0, 0, 255)).all()
    np.testing.assert_array_equal(drawn[24, 40], np.rint(photo[24, 40] * 0.5 + np.array([0, 0, 127.5])))


def test_a_mask_to_the_edge_has_no_line_along_the_edge(photo: np.ndarray) -> None:
    drawn = draw_masks(photo, np.ones((48, 80), bool), colours=[(0, 0, 255)], opacity=0, outline=2)
    np.testing.assert_array_equal(drawn, photo)


def test_later_masks_lie_on_top(photo: np.ndarray) -> None:
    drawn = draw_masks(photo, np.stack([MASK, MASK]), colours=[(255, 0, 0), (0, 255, 0)], opacity=1)
    assert (drawn[MASK] == (0, 255, 0)).all()


def test_empty_masks_draw_nothing(photo: np.ndarray) -> None:
    np.testing.assert_array_equal(draw_masks(photo, np.zeros((2, 48, 80), bool)), photo)
    np.testing.assert_array_equal(draw_masks(photo, np.zeros((0, 48, 80), bool)), photo)


@pytest.mark.parametrize(
    ("masks", "colours", "message"),
    [(np.ones((3, 4), bool), None, "masks must be"), (MASK, [(1, 2, 3)] * 2, "colours must be")],
)
def test_wrong_shapes(photo: np.ndarray, masks: np.ndarray, colours: object, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        draw_masks(photo, masks, colours=colours)  # type: ignore[arg-type]


def test_clicks(photo: np.ndarray) -> None:
    drawn = draw_clicks(photo, [(40, 24), (10, 10)], [1, 0])
    green, red = drawn[24 + 2, 40 + 2].astype(int), drawn[10 + 2, 10 + 2].astype(int)
    assert green[1] > green[0]
    assert red[0] > red[1]
    assert (draw_clicks(photo, np.zeros((0, 2)), []) == photo).all()
    draw_clicks(photo, [(-500.0, 9999.0)], [1])  # outside: drawn nowhere, no error


def test_boxes(photo: np.ndarray) -> None:
    drawn = draw_boxes(photo, [(5, 6, 30, 20)], colours=[(1, 2, 3)])
    assert (drawn[6, 5:31] == (1, 2, 3)).all()
    assert (drawn[6:21, 30] == (1, 2, 3)).all()
    np.testing.assert_array_equal(drawn[10, 10], photo[10, 10])


def test_cutout(photo: np.ndarray) -> None:
    cut = cutout(photo, MASK)
    assert cut.shape == (24, 32, 4)
    np.testing.assert_array_equal(cut[:, :, :3], photo[12:36, 24:56])
    assert (cut[:, :, 3] == 255).all()
    whole = cutout(photo, MASK, crop=False)
    assert whole.shape == (48, 80, 4)
    np.testing.assert_array_equal(whole[:, :, 3] == 255, MASK)
    assert not whole[~MASK].any()
    assert not cutout(photo, np.zeros_like(MASK)).any()
