"""The machine's own float32 matrix-product rate: the best of several forms, into memory that is there already."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

ROWS, INNER, COLUMNS = 4096, 384, 1536


def matrix_rate(repeats: int = 12) -> float:
    """GFLOP/s at 4096 × 384 × 1536, the shape of the encoder's largest layers."""
    x, weight, bias = torch.randn(ROWS, INNER), torch.randn(COLUMNS, INNER), torch.randn(COLUMNS)
    out, transposed = torch.empty(ROWS, COLUMNS), weight.t().contiguous()
    pixels = x.t().reshape(1, INNER, 64, 64).contiguous(memory_format=torch.channels_last)
    kernel = weight[:, :, None, None]
    forms: list[Callable[[], object]] = [
        lambda: torch.mm(x, weight.t(), out=out),
        lambda: torch.mm(x, transposed, out=out),
        lambda: F.conv2d(pixels, kernel, bias),
    ]
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        forms.append(lambda: torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], ""))
    except (AttributeError, RuntimeError):
        pass
    with torch.inference_mode():
        return 2 * ROWS * INNER * COLUMNS / min(_fastest(form, repeats) for form in forms) / 1e9


def _fastest(call: Callable[[], object], repeats: int) -> float:
    call()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best
