"""Batches prepared ahead are those that are asked for."""

from __future__ import annotations

import threading
import time

from samphony.train.ahead import Ahead


def test_without_depth_nothing_is_made_before_it_is_asked_for() -> None:
    made: list[int] = []
    ahead = Ahead(lambda step: made.append(step) or step, depth=0)
    assert [ahead.get(s) for s in (3, 4)] == [3, 4]
    assert made == [3, 4]


def test_steps_are_made_ahead_in_threads_and_given_in_order() -> None:
    made: set[int] = set()
    own = threading.get_ident()

    def make(step: int) -> int:
        assert threading.get_ident() != own
        made.add(step)
        return step * step

    ahead = Ahead(make, depth=3)
    assert ahead.get(5) == 25
    deadline = time.monotonic() + 30
    while made != {5, 6, 7, 8} and time.monotonic() < deadline:
        time.sleep(0.01)
    assert made == {5, 6, 7, 8}
    assert [ahead.get(s) for s in (6, 7, 8)] == [36, 49, 64]
    assert ahead.get(100) == 10000, "a jump is followed"
    ahead.close()
