"""Convolutions whose weights oneDNN packs once instead of at every call, with ReLU6 done while results are in cache.

Plain convolutions reorder their weights at each call, which a small network at batch 1 pays for: an eighth of
the nano's trunk. The numbers are the same.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samphony.model.linear import may_pack

_Activation = tuple[str, list[float], str]
_NO_ACTIVATION: _Activation = ("none", [], "")
_RELU6: _Activation = ("hardtanh", [0.0, 6.0], "")


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` with zero padding, the same parameters and the same numbers, faster without gradients on CPUs."""

    _packed: tuple[Any, Tensor] | None = None

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the name of the base class)
        """(B,C,H,W) → (B,C',H',W')."""
        return self._convolve(input, _NO_ACTIVATION) if self._use_packed(input) else super().forward(input)

    def forward_relu6(self, input: Tensor) -> Tensor:  # noqa: A002
        """``forward``, then ReLU6."""
        if self._use_packed(input):
            return self._convolve(input, _RELU6)
        return F.relu6(super().forward(input), inplace=True)

    def _convolve(self, x: Tensor, activation: _Activation) -> Tensor:
        where = (self.padding, self.stride, self.dilation, self.groups)
        weight = self._packed_weight(list(x.shape))
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(x, weight, self.bias, *where, *activation)
        return out

    def _packed_weight(self, size: list[int]) -> Tensor:
        """The weight in oneDNN's layout for inputs of a size, made anew when the parameter or the size has changed."""
        weight = self.weight
        key = (weight.data_ptr(), weight._version, size)
        if self._packed is None or self._packed[0] != key:
            where = (self.padding, self.stride, self.dilation, self.groups)
            packed = torch.ops.mkldnn._reorder_convolution_weight(weight.detach(), *where, size)
            self._packed = (key, packed)
        return self._packed[1]

    def _use_packed(self, x: Tensor) -> bool:
        channels_last = x.is_contiguous(memory_format=torch.channels_last)
        return channels_last and may_pack(x, self.weight) and _has_packed()

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state.pop("_packed", None)  # opaque to pickle and copy, and quickly made again
        return state


@lru_cache(maxsize=1)
def _has_packed() -> bool:
    names = ("_reorder_convolution_weight", "_convolution_pointwise")
    known = torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)
    return known and torch.backends.cpu.get_cpu_capability() != "DEFAULT"
