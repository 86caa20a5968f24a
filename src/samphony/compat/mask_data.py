"""``MaskData``, the columns that official mask generators pass around; ours are ``predict.automatic.proposals``."""

from __future__ import annotations

import copy
from collections.abc import ItemsView, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Column = Tensor | npt.NDArray[Any] | list[Any]
"""Values of N masks: batched tensors or arrays, or a list."""


class MaskData:
    """Columns of equal length by name; a column that is None is left alone."""

    def __init__(self, **columns: Column | None) -> None:
        self._stats: dict[str, Any] = {}
        for name, column in columns.items():
            self[name] = column

    def __setitem__(self, name: str, column: Column | None) -> None:
        if column is not None and not isinstance(column, (list, np.ndarray, torch.Tensor)):
            raise TypeError(f"{name} must be a list, an array or a tensor, got {type(column).__name__}")
        self._stats[name] = column

    def __getitem__(self, name: str) -> Any:
        return self._stats[name]

    def __delitem__(self, name: str) -> None:
        del self._stats[name]

    def items(self) -> ItemsView[str, Any]:
        """Names and columns."""
        return self._stats.items()

    def filter(self, keep: Tensor) -> None:
        """Keep some masks, by boolean (N) or by index in that order."""
        rows = keep.nonzero().flatten() if keep.dtype == torch.bool else keep
        for name, column in self._stats.items():
            if isinstance(column, torch.Tensor):
                self._stats[name] = column[rows.to(column.device)]
            elif isinstance(column, np.ndarray):
                self._stats[name] = column[rows.cpu().numpy()]
            elif column is not None:
                self._stats[name] = [column[i] for i in rows.tolist()]

    def cat(self, new_stats: MaskData) -> None:
        """Append the masks of another."""
        for name, column in new_stats.items():
            old = self._stats.get(name)
            if old is None:
                self._stats[name] = copy.deepcopy(column)
            elif isinstance(column, torch.Tensor):
                self._stats[name] = torch.cat((old, column))
            elif isinstance(column, np.ndarray):
                self._stats[name] = np.concatenate((old, column))
            else:
                self._stats[name] = old + copy.deepcopy(column)

    def to_numpy(self) -> None:
        """Tensors as float arrays."""
        for name, column in self._stats.items():
            if isinstance(column, torch.Tensor):
                self._stats[name] = column.float().detach().cpu().numpy()


def batch_iterator(batch_size: int, *columns: Sequence[Any]) -> Iterator[list[Any]]:
    """Columns of equal length, ``batch_size`` rows at a time."""
    if len({len(column) for column in columns}) != 1:
        raise ValueError("batch_iterator: columns must be of equal length")
    for first in range(0, len(columns[0]), batch_size):
        yield [column[first : first + batch_size] for column in columns]
