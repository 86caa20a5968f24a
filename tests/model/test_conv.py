"""Convolutions: packed weights give the plain numbers, follow the parameter and the size, and keep to their cases."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from samphony.model import conv
from samphony.model.conv import Conv2d

needs_packed = pytest.mark.skipif(not conv._has_packed(), reason="this torch packs no convolutions")


def _input(*size: int) -> Tensor:
    x = torch.randn(*size, generator=torch.Generator().manual_seed(1))
    return x.contiguous(memory_format=torch.channels_last)


def _layer(kernel: int = 5, groups: int = 16) -> Conv2d:
    torch.manual_seed(0)
    return Conv2d(16, 16, kernel, stride=1 if groups == 1 else 2, padding=kernel // 2, groups=groups)


def _plain(layer: Conv2d, x: Tensor) -> Tensor:
    where = (layer.stride, layer.padding, layer.dilation, layer.groups)
    return F.conv2d(x, layer.weight, layer.bias, *where).detach()  # type: ignore[arg-type]


@needs_packed
@pytest.mark.parametrize(("kernel", "groups"), [(1, 1), (3, 1), (3, 16), (5, 16)])
def test_packed_convolution_agrees_with_plain(kernel: int, groups: int) -> None:
    layer, x = _layer(kernel, groups), _input(2, 16, 20, 24)
    want = _plain(layer, x)
    with torch.inference_mode():
        assert layer._use_packed(x)
        torch.testing.assert_close(layer(x), want, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(layer.forward_relu6(4 * x), F.relu6(_plain(layer, 4 * x)), atol=1e-5, rtol=1e-5)


@needs_packed
def test_packed_weight_follows_parameter_and_size() -> None:
    layer, x = _layer(), _input(1, 16, 20, 20)
    with torch.no_grad():
        before = layer(x)
        layer.weight.mul_(2)
        assert layer.bias is not None
        torch.testing.assert_close(layer(x) - layer.bias[:, None, None], 2 * (before - layer.bias[:, None, None]))
        for size in ((3, 16, 20, 20), (1, 16, 7, 33)):
            x = _input(*size)
            torch.testing.assert_close(layer(x), _plain(layer, x), atol=1e-5, rtol=1e-5)


@needs_packed
def test_gradients_other_types_and_layouts_take_the_plain_convolution() -> None:
    layer, x = _layer(), _input(2, 16, 8, 8)
    assert not layer._use_packed(x)  # gradients are on
    layer.forward_relu6(x).sum().backward()
    assert layer.weight.grad is not None
    with torch.no_grad():
        assert layer._use_packed(x)
        assert not layer._use_packed(x.contiguous())
        assert not layer._use_packed(x.double())
        with torch.autocast("cpu", torch.bfloat16):
            assert not layer._use_packed(x)


@needs_packed
def test_a_used_layer_can_be_copied_and_pickled() -> None:
    layer, x = _layer(), _input(2, 16, 8, 8)
    with torch.no_grad():
        want = layer(x)
        torch.testing.assert_close(copy.deepcopy(layer)(x), want)
        torch.testing.assert_close(pickle.loads(pickle.dumps(layer))(x), want)
