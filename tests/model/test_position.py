"""Position codes against closed formulas, and their properties."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from samphony.model.position import (
    PositionEmbeddingRandom,
    axial_rotary_table,
    rotate,
    sine_position_1d,
    sine_position_2d,
)

CPU = torch.device("cpu")


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([8, 12, 16]), st.data())
@settings(max_examples=30, deadline=None)
def test_sine_code_is_the_formula(height: int, width: int, channels: int, data: st.DataObject) -> None:
    table = sine_position_2d(height, width, channels, CPU)
    assert table.shape == (1, channels, height, width)
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    c, half = data.draw(st.integers(0, channels - 1)), channels // 2
    at, size = (y, height) if c < half else (x, width)
    i = c % half
    angle = (at + 1) / (size + 1e-6) * 2 * math.pi / 10000 ** (2 * (i // 2) / half)
    assert float(table[0, c, y, x]) == pytest.approx(math.sin(angle) if i % 2 == 0 else math.cos(angle), abs=2e-6)


def test_sine_code_of_scalars_is_sines_then_cosines() -> None:
    at = torch.tensor([0.0, 0.5, -3.0])
    table = sine_position_1d(at, 8)
    for t, value in enumerate(at.tolist()):
        for i in range(4):
            angle = value / 10000 ** (2 * (i // 2) / 4)
            assert float(table[t, i]) == pytest.approx(math.sin(angle), abs=1e-6)
            assert float(table[t, 4 + i]) == pytest.approx(math.cos(angle), abs=1e-6)


def test_random_fourier_code() -> None:
    torch.manual_seed(0)
    layer = PositionEmbeddingRandom(6)
    grid = layer((2, 3))
    assert grid.shape == (12, 2, 3)
    centre = torch.tensor([(1 + 0.5) / 3, (0 + 0.5) / 2])  # x of column 1, y of row 0
    angle = (2 * centre - 1) @ layer.positional_encoding_gaussian_matrix * 2 * math.pi
    assert torch.allclose(grid[:, 0, 1], torch.cat((angle.sin(), angle.cos())), atol=1e-5)
    assert torch.allclose(layer._pe_encoding(centre), grid[:, 0, 1], atol=1e-5)


def test_pixels_are_divided_by_width_and_height() -> None:
    layer = PositionEmbeddingRandom(6)
    code = layer.forward_with_coords(torch.tensor([[30.0, 10.0]]), (40, 60))
    assert torch.allclose(code, layer._pe_encoding(torch.tensor([[0.5, 0.25]])), atol=1e-5)


def head(height: int = 4, width: int = 4, dim: int = 16) -> tuple[Tensor, Tensor]:
    return axial_rotary_table(height, width, dim, 10000.0, CPU)


def test_rotary_table_turns_the_first_half_with_x_and_the_second_with_y() -> None:
    cos, sin = head(3, 5, 16)
    assert cos.shape == sin.shape == (15, 8)
    for t in (0, 7, 14):
        y, x = divmod(t, 5)
        for j in range(4):
            frequency = 10000 ** -(4 * j / 16)
            assert float(cos[t, j]) == pytest.approx(math.cos(x * frequency), abs=1e-6)
            assert float(sin[t, 4 + j]) == pytest.approx(math.sin(y * frequency), abs=1e-6)


def test_rotation_is_complex_multiplication_of_adjacent_pairs() -> None:
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    cos, sin = head()
    wanted = torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * torch.complex(cos, sin)).flatten(-2)
    assert torch.allclose(rotate(x, (cos, sin)), wanted, atol=1e-6)


def test_rotation_keeps_lengths_and_leaves_the_origin_alone() -> None:
    x = torch.randn(16, 16, generator=torch.Generator().manual_seed(1))
    turned = rotate(x, head())
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-5)
    assert torch.equal(turned[0], x[0])


@given(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2))
@settings(max_examples=20, deadline=None)
def test_products_depend_on_the_offset_only(ay: int, ax: int, by: int, bx: int) -> None:
    """q at a against k at b equals q at a+1 against k at b+1, in both directions."""
    generator = torch.Generator().manual_seed(2)
    q, k = torch.randn(16, generator=generator), torch.randn(16, generator=generator)
    q, k = rotate(q.expand(16, -1), head()), rotate(k.expand(16, -1), head())
    here = q[4 * ay + ax] @ k[4 * by + bx]
    there = q[4 * (ay + 1) + ax + 1] @ k[4 * (by + 1) + bx + 1]
    assert float(here) == pytest.approx(float(there), abs=1e-4)


def test_pooled_cells_lie_at_the_centre_of_what_they_pool() -> None:
    fine_cos, fine_sin = axial_rotary_table(4, 4, 16, 10000.0, CPU)
    angle = torch.atan2(fine_sin, fine_cos)
    wanted = angle.unflatten(0, (2, 2, 2, 2)).mean(dim=(1, 3)).flatten(0, 1)
    cos, sin = axial_rotary_table(2, 2, 16, 10000.0, CPU, 2)
    assert torch.allclose(torch.atan2(sin, cos), wanted, atol=1e-6)


def test_tables_are_made_once() -> None:
    assert sine_position_2d(3, 4, 8, CPU) is sine_position_2d(3, 4, 8, CPU)
    assert sine_position_2d(3, 4, 8, CPU, torch.float64).dtype == torch.float64
    assert head(6, 6)[0] is head(6, 6)[0]


def test_tables_first_made_under_inference_mode_serve_in_training() -> None:
    with torch.inference_mode():
        table = sine_position_2d(11, 7, 8, CPU)
        cos, _ = axial_rotary_table(11, 7, 8, 10000.0, CPU)
    assert not table.is_inference()
    assert not cos.is_inference()
    x = torch.ones(1, 8, 11, 7, requires_grad=True)
    (x * sine_position_2d(11, 7, 8, CPU)).sum().backward()
    assert torch.equal(x.grad, table)


def test_no_table_is_kept_while_a_graph_is_captured() -> None:
    class Adds(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + sine_position_2d(13, 5, 8, CPU)

    x = torch.zeros(1, 8, 13, 5)
    exported = torch.export.export(Adds(), (x,), strict=False)
    table = sine_position_2d(13, 5, 8, CPU)
    assert type(table) is torch.Tensor
    assert torch.equal(exported.module()(x), table)
