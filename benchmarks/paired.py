"""Paired timings: both sides run in turn, so that a changing speed of the machine falls on both; ratios in pairs."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from official import official_python

SIDE = Path(__file__).parent / "side.py"


@dataclass(frozen=True)
class Row:
    """One line of the table: medians in seconds, the median ratio, peak memory in MiB."""

    name: str
    official: float
    ours: float
    ratio: float
    official_mib: float
    our_mib: float


class Side:
    """A process that runs tasks."""

    def __init__(self, name: str, python: Path | str) -> None:
        self.process = subprocess.Popen(
            [str(python), str(SIDE), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request, wait for its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a side ended while asked {request}; run it by hand: {self.process.args!r}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def compare(
    name: str, task: str, options: dict[str, Any], rounds: int, threads: int, device: str = "cpu", warmups: int = 1
) -> Row:
    """Time a task on both sides in turn, each in a fresh process."""
    sides = Side("official", official_python()), Side("samphony", sys.executable)
    try:
        for side in sides:
            side.ask(threads=threads, task=task, options={**options, "device": device, "rounds": rounds + warmups})
            for _ in range(warmups):
                side.ask(run=True)
        answers = [[side.ask(run=True) for side in sides] for _ in range(rounds)]
        official, ours = ([pair[i]["seconds"] for pair in answers] for i in (0, 1))
        return Row(
            name,
            statistics.median(official),
            statistics.median(ours),
            statistics.median(a / b for a, b in zip(official, ours, strict=True)),
            answers[-1][0]["peak_mib"],
            answers[-1][1]["peak_mib"],
        )
    finally:
        for side in sides:
            side.close()
