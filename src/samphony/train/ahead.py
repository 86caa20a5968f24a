"""Batches prepared ahead by threads, so that an accelerator does not wait for pictures.

A batch is a function of its step, so preparing ahead changes nothing but the time it takes. On a processor that
also trains there is nothing to gain, and nothing is prepared.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """``make(step)``, called up to ``depth`` steps early in threads; ``depth`` 0 calls it when it is asked for.

    ``make`` may give None for steps that are of another kind.
    """

    def __init__(self, make: Callable[[int], T], depth: int) -> None:
        self.make, self.depth = make, depth
        self._pool = ThreadPoolExecutor(depth) if depth else None
        self._waiting: dict[int, Future[T]] = {}

    def get(self, step: int) -> T:
        """What belongs to a step; schedules the steps behind it."""
        if self._pool is None:
            return self.make(step)
        for late in [s for s in self._waiting if s < step]:
            self._waiting.pop(late).cancel()
        for s in range(step, step + self.depth + 1):
            if s not in self._waiting:
                self._waiting[s] = self._pool.submit(self.make, s)
        return self._waiting.pop(step).result()

    def close(self) -> None:
        """Forget what waits; threads end with their last batch."""
        for late in self._waiting.values():
            late.cancel()
        self._waiting.clear()
