"""Prompts as tokens and as a dense map: padding, labels, boxes, masks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from samphony.model.prompt_encoder import PromptEncoder


@pytest.fixture
def encoder() -> PromptEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PromptEncoder(16, (4, 4), (64, 64), 8).eval()


def points(coords: list[list[float]], labels: list[int]) -> tuple[Tensor, Tensor]:
    return torch.tensor([coords], dtype=torch.float32), torch.tensor([labels], dtype=torch.int32)


def code(encoder: PromptEncoder, x: float, y: float) -> Tensor:
    """The position code of a pixel, half a pixel added."""
    return encoder.pe_layer._pe_encoding(torch.tensor([(x + 0.5) / 64, (y + 0.5) / 64]))


def test_a_click_is_its_place_and_its_label_and_a_padding_token_follows(encoder: PromptEncoder) -> None:
    sparse, dense = encoder(points([[10, 20], [30, 5]], [1, 0]), None, None)
    assert sparse.shape == (1, 3, 16)
    assert torch.allclose(sparse[0, 0], code(encoder, 10, 20) + encoder.point_embeddings[1].weight[0], atol=1e-5)
    assert torch.allclose(sparse[0, 1], code(encoder, 30, 5) + encoder.point_embeddings[0].weight[0], atol=1e-5)
    assert torch.equal(sparse[0, 2], encoder.not_a_point_embed.weight[0])
    assert torch.equal(dense, encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(1, 16, 4, 4))


def test_padding_has_no_place(encoder: PromptEncoder) -> None:
    here, _ = encoder(points([[10, 20]], [-1]), None, None)
    there, _ = encoder(points([[50, 60]], [-1]), None, None)
    assert torch.equal(here, there)
    assert torch.equal(here[0, 0], here[0, 1])  # the given padding and the one that is always appended


def test_a_box_as_two_points_is_padded_too(encoder: PromptEncoder) -> None:
    sparse, _ = encoder(points([[4, 8], [40, 50]], [2, 3]), None, None)
    assert sparse.shape == (1, 3, 16)
    assert torch.allclose(sparse[0, 0], code(encoder, 4, 8) + encoder.point_embeddings[2].weight[0], atol=1e-5)
    assert torch.allclose(sparse[0, 1], code(encoder, 40, 50) + encoder.point_embeddings[3].weight[0], atol=1e-5)


def test_boxes_of_sam_1_are_the_same_tokens_without_padding(encoder: PromptEncoder) -> None:
    as_points, _ = encoder(points([[4, 8], [40, 50]], [2, 3]), None, None)
    as_box, _ = encoder(None, torch.tensor([[4.0, 8, 40, 50]]), None)
    assert as_box.shape == (1, 2, 16)
    assert torch.allclose(as_box, as_points[:, :2], atol=1e-6)
    both, _ = encoder(points([[1, 1]], [1]), torch.tensor([[4.0, 8, 40, 50]]), None)
    assert both.shape == (1, 3, 16)


def test_an_unknown_label_is_a_bare_place(encoder: PromptEncoder) -> None:
    for label in (4, -2, 17):
        sparse, _ = encoder(points([[10, 20]], [label]), None, None)
        assert torch.allclose(sparse[0, 0], code(encoder, 10, 20), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.float32])
def test_labels_of_any_kind(encoder: PromptEncoder, dtype: torch.dtype) -> None:
    coords, labels = points([[10, 20], [30, 40]], [1, -1])
    wanted, _ = encoder((coords, labels), None, None)
    got, _ = encoder((coords, labels.to(dtype)), None, None)
    assert torch.equal(got, wanted)


def test_no_prompt_is_no_token(encoder: PromptEncoder) -> None:
    sparse, dense = encoder(None, None, None)
    assert sparse.shape == (1, 0, 16)
    assert dense.shape == (1, 16, 4, 4)


def test_a_mask_becomes_the_dense_prompt(encoder: PromptEncoder) -> None:
    mask = torch.randn(3, 1, 16, 16)
    sparse, dense = encoder(None, None, mask)
    assert sparse.shape == (3, 0, 16)
    assert torch.equal(dense, encoder.mask_downscaling(mask))
    assert dense.shape == (3, 16, 4, 4)


def test_dense_code_is_of_the_cell_centres(encoder: PromptEncoder) -> None:
    dense = encoder.get_dense_pe()
    assert dense.shape == (1, 16, 4, 4)
    centre = torch.tensor([(2 + 0.5) / 4, (1 + 0.5) / 4])
    assert torch.allclose(dense[0, :, 1, 2], encoder.pe_layer._pe_encoding(centre), atol=1e-5)


def test_dense_code_follows_its_matrix(encoder: PromptEncoder) -> None:
    with torch.inference_mode():
        first = encoder.get_dense_pe()
        assert encoder.get_dense_pe() is first
    with torch.no_grad():
        encoder.pe_layer.positional_encoding_gaussian_matrix.mul_(2.0)
        second = encoder.get_dense_pe()
    assert not torch.allclose(first, second)
    assert torch.allclose(second, encoder.pe_layer((4, 4))[None])


def test_dense_code_made_under_inference_mode_serves_in_training(encoder: PromptEncoder) -> None:
    with torch.inference_mode():
        encoder.get_dense_pe()
    x = torch.ones(1, 16, 4, 4, requires_grad=True)
    (x * encoder.get_dense_pe()).sum().backward()
    with torch.no_grad():
        kept = encoder.get_dense_pe()
    (x * kept).sum().backward()
    assert x.grad is not None


def test_gradients_reach_every_parameter(encoder: PromptEncoder) -> None:
    sparse, dense = encoder(points([[1, 2], [3, 4], [5, 6], [7, 8]], [0, 1, 2, 3]), None, torch.randn(1, 1, 16, 16))
    (sparse.square().sum() + dense.square().sum() + encoder(None, None, None)[1].square().sum()).backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in encoder.parameters())
