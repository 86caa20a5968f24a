"""The log of a run: JSON lines, TensorBoard events, means of several steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from samphony.train.logs import RunLog


def test_lines_and_watchers(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    seen: list[tuple[int, dict[str, float]]] = []
    log.watch(lambda step, values: seen.append((step, values)))
    log.numbers(3, {"a": 0.5, "missing": float("nan")})
    log.numbers(4, {"a": 0.25})
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["a"]) for line in lines] == [(3, 0.5), (4, 0.25)]
    assert "missing" not in lines[0]
    assert [step for step, _ in seen] == [3, 4]


def test_means_leave_out_steps_without_a_number(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.gather({"a": torch.tensor(1.0), "b": torch.tensor(2.0)})
    log.gather({"a": torch.tensor(3.0)})
    log.gather({"a": torch.tensor(float("nan"))})
    assert log.gathered() == {"a": 2.0, "b": 2.0}
    assert log.gathered() == {}


def test_tensorboard_reads_the_events(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = RunLog(tmp_path)
    log.numbers(7, {"loss/total": 0.125})
    events = accumulator.EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    (event,) = events.Scalars("loss/total")
    assert (event.step, event.value) == (7, 0.125)


def test_other_processes_are_silent(tmp_path: Path) -> None:
    log = RunLog(None)
    log.numbers(1, {"a": 1.0})
    assert list(tmp_path.iterdir()) == []
