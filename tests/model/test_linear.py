"""Linear layers: the packed product gives the plain one's numbers, follows the weights, and keeps to its cases."""

from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from samphony.model import linear
from samphony.model.linear import MIN_ROWS, Linear, Product, fastest_product

needs_packed = pytest.mark.skipif(not linear._has_packed(), reason="this torch has no packed product")


@pytest.fixture(params=[False, True], ids=["gelu apart", "gelu fused"])
def packed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "fastest_product", lambda: Product(packed=True, fused_gelu=request.param))


def _layer() -> Linear:
    torch.manual_seed(0)
    return Linear(24, 40)


@needs_packed
@pytest.mark.usefixtures("packed")
def test_packed_product_agrees_with_plain() -> None:
    layer, x = _layer(), torch.randn(2, MIN_ROWS, 24)
    want = F.linear(x, layer.weight, layer.bias).detach()
    with torch.inference_mode():
        assert layer._use_packed(x)
        torch.testing.assert_close(layer(x), want, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(layer.forward_gelu(x), F.gelu(want), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(layer.forward_relu(x), F.relu(want), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("activate", [linear.linear_gelu, linear.linear_relu])
def test_hooks_see_the_output_before_the_activation(
    activate: Callable[[torch.nn.Module, torch.Tensor], object],
) -> None:
    layer, x, seen = _layer(), torch.randn(MIN_ROWS, 24), []
    layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.no_grad():
        activate(layer, x)
        torch.testing.assert_close(seen, [F.linear(x, layer.weight, layer.bias)], atol=1e-5, rtol=1e-5)


@needs_packed
@pytest.mark.usefixtures("packed")
@pytest.mark.parametrize("width", [1, 7, 64, 65])
@torch.inference_mode()
def test_a_product_is_added_in_place_into_a_part_of_a_tensor(width: int) -> None:
    a, b, whole = torch.rand(30, 50), torch.rand(3 * 50, width), torch.rand(3, 40, width)
    want = whole.clone()
    want[1, 5:35] += a @ b[50:100]
    linear.add_product(whole[1, 5:35], a, b[50:100])
    torch.testing.assert_close(whole, want)


@needs_packed
@pytest.mark.usefixtures("packed")
def test_packed_weight_follows_the_parameter() -> None:
    layer, x = _layer(), torch.randn(MIN_ROWS, 24)
    with torch.no_grad():
        before = layer(x)
        layer.weight.mul_(2)
        after = layer(x)
    torch.testing.assert_close(after - layer.bias, 2 * (before - layer.bias), atol=1e-5, rtol=1e-5)


@needs_packed
@pytest.mark.usefixtures("packed")
def test_few_rows_gradients_and_other_types_take_the_plain_product() -> None:
    layer = _layer()
    assert not layer._use_packed(torch.randn(MIN_ROWS, 24))  # gradients are on
    with torch.no_grad():
        assert not layer._use_packed(torch.randn(MIN_ROWS - 1, 24))
        assert not layer._use_packed(torch.randn(MIN_ROWS, 24, dtype=torch.bfloat16))


@needs_packed
@pytest.mark.usefixtures("packed")
def test_a_used_layer_can_be_copied_and_pickled() -> None:
    layer, x = _layer(), torch.randn(MIN_ROWS, 24)
    with torch.no_grad():
        want = layer(x)
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            torch.testing.assert_close(other(x), want)


def test_the_choice_is_made_once() -> None:
    assert fastest_product() is fastest_product()


def test_fastest_of_each_takes_the_best_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)

    def lasting(*seconds: float) -> Callable[[], torch.Tensor]:
        runs = iter(seconds)

        def call() -> torch.Tensor:
            nonlocal now
            now += next(runs)
            return torch.zeros(1)

        return call

    assert linear._fastest(lasting(9.0, 2.0, 4.0), lasting(8.0, 5.0, 3.0), repeats=2) == [2.0, 3.0]
