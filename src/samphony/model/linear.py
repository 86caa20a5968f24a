"""Linear layers in the product that is fastest on this processor.

The matrix product that torch calls by default (MKL) writes the bias first and adds to it. With AVX-512 on an AMD
processor it reaches less than half of what oneDNN reaches with weights packed beforehand (195 against 440 GFLOP/s),
with AVX2 alone a tenth less. So both are measured once in a process, on a shape of the encoder. Numbers agree to
rounding.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MIN_ROWS = 128
"""Products with fewer rows are too short to gain."""
_NARROW = 64
"""Columns of a matrix up to which oneDNN adds a product faster."""
WORTH_IT = 1.03
"""Packing doubles the weights in memory, so it must gain at least this factor."""


def eager_inference(x: Tensor) -> bool:
    """Whether x is computed eagerly on a CPU without gradients, so that a path of our own may be taken."""
    return (
        x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[no-untyped-call,attr-defined]
    )


def may_pack(x: Tensor, weight: Tensor) -> bool:
    """Whether a packed copy of ``weight`` may take its place for x: float32, eager, on a CPU, without gradients."""
    return (
        x.dtype == torch.float32
        and weight.dtype == torch.float32
        and eager_inference(x)
        and not weight.is_inference()
        and not torch.is_autocast_enabled("cpu")
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
            return _packed_gelu(input, self.packed_weight(), self.bias, fastest_product().fused_gelu)
        return F.gelu(F.linear(input, self.weight, self.bias))

    def forward_relu(self, input: Tensor) -> Tensor:  # noqa: A002
        """ReLU of ``forward``, in one pass where that is possible."""
        if self._use_packed(input):
            return _packed_linear(input, self.packed_weight(), self.bias, "relu")
        return F.relu(F.linear(input, self.weight, self.bias), inplace=True)

    def packed_weight(self) -> Tensor:
        """The weight in oneDNN's layout, made anew when the parameter has changed."""
        weight = self.weight
        key = (weight.data_ptr(), weight._version)
        if self._packed is None or self._packed[0] != key:
            self._packed = (key, torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None))
        return self._packed[1]

    def _use_packed(self, x: Tensor) -> bool:
        long_enough = x.numel() >= MIN_ROWS * self.in_features
        return long_enough and may_pack(x, self.weight) and fastest_product().packed

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state.pop("_packed", None)  # opaque to pickle and copy, and quickly made again
        return state


def _is_plain(layer: nn.Module) -> TypeGuard[Linear]:
    """Ours, and nobody watches its output, which does not exist where the activation is done in one pass."""
    return isinstance(layer, Linear) and not layer._forward_hooks and not layer._forward_pre_hooks


def linear_gelu(layer: nn.Module, x: Tensor) -> Tensor:
    """GELU of a linear layer, or of what an adapter has put in its place."""
    return layer.forward_gelu(x) if _is_plain(layer) else F.gelu(layer(x))


def linear_relu(layer: nn.Module, x: Tensor) -> Tensor:
    """ReLU of a linear layer, or of what an adapter has put in its place."""
    return layer.forward_relu(x) if _is_plain(layer) else F.relu(layer(x))


def add_product(out: Tensor, a: Tensor, b: Tensor) -> None:
    """``out += a @ b`` (N,K)·(K,M) of contiguous float32 matrices on a CPU, without gradients.

    Where packed weights are fast, so is oneDNN with a narrow ``b``: MKL loses a fifth there with several threads.
    """
    if b.shape[1] <= _NARROW and b.is_contiguous() and fastest_product().packed:
        out += _packed_linear(a, b.t(), None, "none")  # b may be in any order that oneDNN has a kernel for
    else:
        out.addmm_(a, b)


def _packed_linear(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "none")
    return out


def _packed_gelu(x: Tensor, weight: Tensor, bias: Tensor | None, fused: bool) -> Tensor:
    if fused:
        return _packed_linear(x, weight, bias, "gelu")
    out: Tensor = torch.ops.aten.gelu_(_packed_linear(x, weight, bias, "none"))
    return out


class Product(NamedTuple):
    """Whether weights are packed, and whether GELU is then left to the product."""

    packed: bool
    fused_gelu: bool


@lru_cache(maxsize=1)
def fastest_product() -> Product:
    """The fastest way of a linear layer with GELU here; measured at the first call (about 0.1 s)."""
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT" or not _has_packed():
        return Product(packed=False, fused_gelu=False)
    with torch.inference_mode():
        x, weight, bias = torch.ones(512, 384), torch.ones(1536, 384), torch.ones(1536)
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        plain, apart, fused = _fastest(
            lambda: F.gelu(F.linear(x, weight, bias)),
            lambda: _packed_gelu(x, packed, bias, fused=False),
            lambda: _packed_gelu(x, packed, bias, fused=True),
        )
    return Product(packed=plain > WORTH_IT * min(apart, fused), fused_gelu=fused < apart)


def _has_packed() -> bool:
    names = ("_reorder_linear_weight", "_linear_pointwise")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)


def _fastest(*calls: Callable[[], Tensor], repeats: int = 3) -> list[float]:
    """Seconds of the fastest of some runs of each; the runs take turns, so that a busy moment meets all."""
    best = [float("inf")] * len(calls)
    for _ in range(1 + repeats):  # the first runs warm up, and are never the fastest
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - start)
    return best
