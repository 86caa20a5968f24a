"""What an evaluation leaves in numbers: summaries by kind, source and clip, JSON with every item."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from samphony.evaluate.clicks import ObjectResult, mean_of
from samphony.evaluate.video import TrackResult, mean_jf

Row = tuple[str, list[str]]
"""A row of a table: its name and its cells."""


def click_columns(clicks: int) -> list[str]:
    """Measures shown for the click protocol: IoU, then boundary F."""
    shown = [k for k in (1, 3, 5) if k <= clicks]
    edges = [f"f{k}" for k in sorted({1, clicks})]
    return [*(f"click{k}" for k in shown), "box", "oracle", *edges, "box_f", "iou_error"]


def click_rows(results: Sequence[ObjectResult], columns: Sequence[str], by: Callable[[ObjectResult], str]) -> list[Row]:
    """One row for each value of ``by``, largest group first, and one for all."""
    groups: dict[str, list[ObjectResult]] = {}
    for result in results:
        groups.setdefault(by(result), []).append(result)
    rows = [(name, _cells(group, columns)) for name, group in sorted(groups.items(), key=lambda g: -len(g[1]))]
    return [*rows, ("all", _cells(results, columns))]


def video_rows(results: Sequence[TrackResult]) -> list[Row]:
    """One row for each clip, and one for all: objects, J, F, J&F, presence."""
    clips: dict[str, list[TrackResult]] = {}
    for result in results:
        clips.setdefault(result.clip, []).append(result)
    rows = [(name, _track_cells(group)) for name, group in sorted(clips.items())]
    return [*rows, ("all", _track_cells(results))]


def write_json(file: Path, summary: dict[str, Any], items: Sequence[ObjectResult] | Sequence[TrackResult]) -> None:
    """Write the summary and every item, atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"summary": summary, "items": [asdict(item) for item in items]}
    partial = file.with_name(file.name + ".tmp")
    partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
    os.replace(partial, file)  # noqa: PTH105


def _cells(results: Sequence[ObjectResult], columns: Sequence[str]) -> list[str]:
    return [str(len(results)), *(f"{mean_of(results, column):.3f}" for column in columns)]


def _track_cells(results: Sequence[TrackResult]) -> list[str]:
    j, f, jf = mean_jf(results)
    presence = float(np.mean([r.presence for r in results])) if results else float("nan")
    return [str(len(results)), f"{j:.3f}", f"{f:.3f}", f"{jf:.3f}", f"{presence:.3f}"]
