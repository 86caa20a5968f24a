"""samphony against the official package, in one run, in exact float32.

    make bench                         every row (an hour on two slow cores)
    make bench ARGS="encode click"     some

Speed claims in the documentation are ratios from this table. The share of the machine's matrix rate says how much room
the processor leaves: work in GFLOP over the time, over the rate of its best matrix product.
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from paired import Row, compare
from rate import matrix_rate

# name: (task, options, rounds, least known work in GFLOP)
ROWS: dict[str, tuple[str, dict[str, Any], int, float | None]] = {
    "encode": ("encode", {}, 5, 291),
    "click": ("click", {}, 20, None),
    "boxes-16": ("click", {"boxes": 16}, 4, None),
    "track-1": ("track", {"objects": 1}, 3, 724),
    "track-8": ("track", {"objects": 8}, 1, 3620),
    "automatic": ("automatic", {}, 1, None),
    "automatic-decoder": ("automatic", {"encoder": False}, 1, None),
}


def main() -> None:
    """Run the rows that were asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"which rows; all by default: {', '.join(ROWS)}")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", help="cpu, or cuda: ratios alone, no share of a rate")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    unknown = set(options.rows) - set(ROWS)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}; rows are {', '.join(ROWS)}")
    torch.set_num_threads(options.threads)
    console = Console()
    rate = matrix_rate() if options.device == "cpu" else None
    where = _processor() if rate else torch.cuda.get_device_name()
    console.print(f"{where}, {options.threads} threads" + (f": {rate:.0f} GFLOP/s in float32 products" if rate else ""))
    rows = []
    for name in options.rows or ROWS:
        task, settings, rounds, work = ROWS[name]
        with console.status(name):
            row = compare(name, task, settings, rounds, options.threads, options.device)
        rows.append((row, work))
        console.print(_line(row, work, rate))
    console.print(_table(rows, rate))
    if options.json:
        figures = {"processor": where, "threads": options.threads, "matrix_gflops": rate}
        options.json.write_text(json.dumps({**figures, "rows": [asdict(row) for row, _ in rows]}, indent=1) + "\n")


def _line(row: Row, work: float | None, rate: float | None) -> str:
    share = f", {work / row.ours / rate:.0%} of the rate" if work and rate else ""
    return f"{row.name}: official {row.official:.3f} s, samphony {row.ours:.3f} s, {row.ratio:.2f}×{share}"


def _table(rows: list[tuple[Row, float | None]], rate: float | None) -> Table:
    table = Table("", "official s", "samphony s", "ratio", "of the rate", "official MiB", "samphony MiB")
    for row, work in rows:
        share = f"{work / row.ours / rate:.0%}" if work and rate else ""
        table.add_row(
            row.name,
            f"{row.official:.3f}",
            f"{row.ours:.3f}",
            f"{row.ratio:.2f}×",
            share,
            f"{row.official_mib:.0f}",
            f"{row.our_mib:.0f}",
        )
    return table


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


if __name__ == "__main__":
    main()
