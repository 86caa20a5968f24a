"""``samphony models``: what there is, how large, and what is on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.table import Table

from samphony.weights.cache import cache_folder, local_weights
from samphony.weights.registry import WEIGHTS


def models() -> None:
    """List the models, their sizes, and what is on this machine."""
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "official name", "parameters", "size"):
        table.add_column(heading, no_wrap=True)
    table.add_column("on this machine", overflow="fold")  # a path is no use with an end of dots
    bundled = local_weights("nano")
    table.add_row("nano", "", "", _megabytes(bundled.stat().st_size) if bundled else "", _place(bundled))
    for name, weights in WEIGHTS.items():
        table.add_row(
            name,
            weights.official_name,
            f"{weights.parameters / 1e6:.1f} M",
            _megabytes(weights.approximate_size),
            _place(local_weights(name)),
        )
    console = Console(width=None if os.environ.get("COLUMNS") or os.isatty(1) else 160)
    console.print(table)
    console.print(f"\nsamphony download MODEL fetches into {cache_folder()}", soft_wrap=True, highlight=False)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def _place(path: Path | None) -> str:
    return "no" if path is None else str(path)
