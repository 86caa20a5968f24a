"""Decode ahead: a small thread that prepares the next frames while the network works on this one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def prefetch(make: Callable[[Item], Made], items: Iterable[Item], depth: int = 2) -> Generator[Made, None, None]:
    """Yield ``make(item)`` for each item in order, at most ``depth`` results ahead of the consumer.

    An exception in ``make`` is raised at its own place in the order, after everything before it was yielded. Closing
    the generator stops the thread.
    """
    done: queue.Queue[tuple[Made | None, BaseException | None] | None] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(entry: tuple[Made | None, BaseException | None] | None) -> None:
        while not stop.is_set():
            try:
                done.put(entry, timeout=0.1)
                return
            except queue.Full:  # noqa: PERF203 - looks at ``stop`` every now and then
                continue

    def work() -> None:
        for item in items:
            if stop.is_set():
                return
            try:
                put((make(item), None))
            except BaseException as error:  # handed to the consumer at its place
                put((None, error))
                return
        put(None)

    thread = threading.Thread(target=work, name="samphony-prefetch", daemon=True)
    thread.start()
    try:
        while (entry := done.get()) is not None:
            made, error = entry
            if error is not None:
                raise error
            yield made  # type: ignore[misc]  # None only together with an error
    finally:
        stop.set()
        thread.join()
