"""The nano's prompt encoder: the official one's answers, plus what is drawn."""

from __future__ import annotations

import math

import pytest
import torch

from samphony.model.drawn_prompt_encoder import DrawnPromptEncoder
from samphony.model.prompt_encoder import PromptEncoder

C, CELLS, SIZE = 32, 4, 64


@pytest.fixture(scope="module")
def drawn() -> DrawnPromptEncoder:
    torch.manual_seed(0)
    return DrawnPromptEncoder(C, (CELLS, CELLS), (SIZE, SIZE), 8, sigma=1.0).eval()


def _prompts() -> tuple[torch.Tensor, torch.Tensor]:
    coords = torch.tensor([[[10.0, 20.0], [40.0, 50.0]], [[8.0, 8.0], [39.0, 23.0]]])
    return coords, torch.tensor([[1, 0], [2, 3]])


def test_everything_but_the_drawing_is_the_official_encoder(drawn: DrawnPromptEncoder) -> None:
    official = PromptEncoder(C, (CELLS, CELLS), (SIZE, SIZE), 8).eval()
    own = drawn.state_dict()
    official.load_state_dict({k: v for k, v in own.items() if not k.startswith("draw.")}, strict=True)
    masks = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        sparse, dense = drawn(points=_prompts(), boxes=None, masks=masks)
        expected_sparse, expected_dense = official(points=_prompts(), boxes=None, masks=masks)
        extra = drawn.draw(drawn.pictures(*_prompts(), masks))
    assert torch.equal(sparse, expected_sparse)
    assert torch.equal(drawn.get_dense_pe(), official.get_dense_pe())
    torch.testing.assert_close(dense - extra, expected_dense)


def test_without_any_prompt_nothing_is_drawn(drawn: DrawnPromptEncoder) -> None:
    with torch.no_grad():
        sparse, dense = drawn(points=None, boxes=None, masks=None)
    assert sparse.shape == (1, 0, C)
    assert torch.equal(dense, drawn.no_mask_embed.weight.reshape(1, -1, 1, 1).expand_as(dense))


def test_clicks_are_drawn_where_they_are_and_padding_is_not(drawn: DrawnPromptEncoder) -> None:
    coords = torch.tensor([[[9.5, 21.5], [41.5, 49.5], [0.0, 0.0]]])  # centres of cells (2, 5) and (10, 12)
    pictures = drawn.pictures(coords, torch.tensor([[1, 0, -1]]), None)
    assert pictures.shape == (1, 5, 16, 16)
    positive, negative, box, mask, known = pictures[0]
    assert divmod(int(positive.argmax()), 16) == (5, 2)
    assert divmod(int(negative.argmax()), 16) == (12, 10)
    assert float(positive.max()) == pytest.approx(1.0)
    assert float(positive[0, 0]) < 1e-3, "padding at (0, 0) must not be drawn"
    assert not box.any()
    assert not mask.any()
    assert not known.any()


def test_a_box_is_filled_to_its_corners(drawn: DrawnPromptEncoder) -> None:
    # Cells 2 … 9 and 2 … 5: edges at 8 and 40, 8 and 24, half a pixel less since coordinates name pixel centres.
    corners = torch.tensor([[[7.5, 7.5], [39.5, 23.5]]])
    box = drawn.pictures(corners, torch.tensor([[2, 3]]), None)[0, 2]
    expected = torch.zeros(16, 16)
    expected[2:6, 2:10] = 1.0
    torch.testing.assert_close(box, expected)


def test_boxes_given_the_way_of_sam_1_are_drawn_the_same(drawn: DrawnPromptEncoder) -> None:
    boxes = torch.tensor([[8.0, 8.0, 39.0, 23.0]])
    with torch.no_grad():
        _, dense = drawn(points=None, boxes=boxes, masks=None)
        _, expected = drawn(points=(boxes.reshape(1, 2, 2), torch.tensor([[2, 3]])), boxes=None, masks=None)
    assert torch.equal(dense, expected)


def test_a_mask_prompt_is_drawn_as_probabilities(drawn: DrawnPromptEncoder) -> None:
    logits = torch.full((1, 1, 16, 16), -8.0)
    logits[..., 4:8, 4:8] = 8.0
    *_, mask, known = drawn.pictures(torch.zeros(1, 0, 2), torch.zeros(1, 0), logits)[0]
    assert torch.equal(mask > 0.5, logits[0, 0] > 0)
    assert bool((known == 1).all())


def test_gradients_reach_the_drawing(drawn: DrawnPromptEncoder) -> None:
    _, dense = drawn(points=_prompts(), boxes=None, masks=None)
    dense.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in drawn.draw.parameters())


def test_wider_bumps_have_channels_of_their_own() -> None:
    torch.manual_seed(0)
    encoder = DrawnPromptEncoder(C, (CELLS, CELLS), (SIZE, SIZE), 8, sigma=1.0, reaches=(4.0,)).eval()
    coords, labels = torch.tensor([[[9.5, 21.5], [41.5, 49.5]]]), torch.tensor([[1, 0]])
    pictures = encoder.pictures(coords, labels, None)[0]
    assert pictures.shape == (7, 16, 16)
    near_positive, near_negative, far_positive, far_negative = pictures[:4]
    assert near_positive.argmax() == far_positive.argmax() == 5 * 16 + 2
    assert near_negative.argmax() == far_negative.argmax() == 12 * 16 + 10
    away = (5, 8)  # six cells from the positive click
    assert near_positive[away] < 1e-6
    assert far_positive[away] == pytest.approx(math.exp(-(6**2) / (2 * 4**2)), rel=1e-4)
    with torch.no_grad():
        assert encoder(points=(coords, labels), boxes=None, masks=None)[1].shape == (1, C, CELLS, CELLS)
