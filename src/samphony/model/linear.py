"""Linear layers in the product that is fastest on this processor.

On processors with AVX-512 the matrix product that torch calls by default (MKL) can reach less than half of what
oneDNN reaches with weights packed beforehand (seen on AMD: 195 against 440 GFLOP/s); elsewhere both are at the limit.
So it is measured once in a process, on a shape of the encoder, and only where it can matter. Numbers agree to rounding.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MIN_ROWS = 512
"""Products with fewer rows are too short to gain."""
WORTH_IT = 1.15
"""Packing doubles the weights in memory, so it must gain at least this factor."""


def eager_inference(x: Tensor) -> bool:
    """Whether x is computed eagerly on a CPU without gradients, so that a path of our own may be taken."""
    return (
        x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[no-untyped-call,attr-defined]
    )


class Linear(nn.Linear):
    """``nn.Linear`` with the same parameters and the same numbers to rounding, sometimes faster."""

    _packed: tuple[Any, Tensor] | None = None

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the name of the base class)
        """(…,in) → (…,out)."""
        if self._use_packed(input):
            return _packed_linear(input, self.packed_weight(), self.bias, "none")
        return F.linear(input, self.weight, self.bias)

    def forward_gelu(self, input: Tensor) -> Tensor:  # noqa: A002
        """GELU (exact) of ``forward``, in one pass where that is possible."""
        if self._use_packed(input):
            return _packed_linear(input, self.packed_weight(), self.bias, "gelu")
        return F.gelu(F.linear(input, self.weight, self.bias))

    def packed_weight(self) -> Tensor:
        """The weight in oneDNN's layout, made anew when the parameter has changed."""
        weight = self.weight
        key = (weight.data_ptr(), weight._version)
        if self._packed is None or self._packed[0] != key:
            self._packed = (key, torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None))
        return self._packed[1]

    def _use_packed(self, x: Tensor) -> bool:
        return (
            x.dtype == torch.float32
            and self.weight.dtype == torch.float32
            and x.numel() >= MIN_ROWS * self.in_features
            and eager_inference(x)
            and not self.weight.is_inference()
            and not torch.is_autocast_enabled("cpu")
            and packed_is_faster()
        )

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state.pop("_packed", None)  # opaque to pickle and copy, and quickly made again
        return state


def _packed_linear(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "none")
    return out


@lru_cache(maxsize=1)
def packed_is_faster() -> bool:
    """Whether oneDNN with packed weights beats the default product here; measured at the first call."""
    if torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2") or not _has_packed():
        return False
    with torch.inference_mode():
        x, weight, bias = torch.ones(1024, 384), torch.ones(1536, 384), torch.ones(1536)
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        plain = _fastest(lambda: F.linear(x, weight, bias))
        return plain > WORTH_IT * _fastest(lambda: _packed_linear(x, packed, bias, "none"))


def _has_packed() -> bool:
    names = ("_reorder_linear_weight", "_linear_pointwise")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)


def _fastest(call: Callable[[], Tensor], repeats: int = 4) -> float:
    call()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best
