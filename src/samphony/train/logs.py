"""What a run writes down: JSON lines always, TensorBoard events where its writer is installed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class RunLog:
    """Numbers by step. Without a folder (other processes than the first) it is silent."""

    def __init__(self, folder: Path | None) -> None:
        self._file: Path | None = None
        self._events: Any = None
        self._watchers: list[Callable[[int, dict[str, float]], None]] = []
        self._gathered: dict[str, list[Tensor]] = {}
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "log.jsonl"
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._events = SummaryWriter(str(folder / "events"))

    def watch(self, watcher: Callable[[int, dict[str, float]], None]) -> None:
        """Also call ``watcher`` with every step's numbers."""
        self._watchers.append(watcher)

    def gather(self, values: Mapping[str, Tensor]) -> None:
        """Keep a step's numbers for the mean of several; they may stay on a device until then."""
        for name, value in values.items():
            self._gathered.setdefault(name, []).append(value.detach())

    def gathered(self) -> dict[str, float]:
        """Means of what was gathered since the last call; steps without a number do not count."""
        means = {name: float(torch.stack(v).float().nanmean()) for name, v in self._gathered.items()}
        self._gathered.clear()
        return means

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """Add numbers of a step; those that are not a number are left out."""
        if self._file is None:
            return
        for watcher in self._watchers:
            watcher(step, values)
        known = {k: round(v, 6) for k, v in values.items() if v == v}
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, "time": round(time.time(), 1), **known}) + "\n")
        if self._events is not None:
            for name, value in known.items():
                self._events.add_scalar(name, value, step)
            self._events.flush()
