"""``samphony demo``: the shortest way from an installation to a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from samphony.assets import SAMPLE_PHOTO, SAMPLE_POINT
from samphony.cli.segment import show
from samphony.segmentation import segment


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("samphony-demo"),
    model: Annotated[str, typer.Option("--model", "-m", help="A model's name, or a weights file.")] = "nano",
) -> None:
    """Segment the sample photo, and track an object through the sample video, into a folder."""
    console = Console()
    x, y = SAMPLE_POINT
    console.print(f"A click at ({x:g}, {y:g}) on the sample photo, with the model {model!r}:", highlight=False)
    result = segment(SAMPLE_PHOTO, points=[SAMPLE_POINT], model=model)
    files = result.save(out)
    show(result, files)
    console.print(f"Look at {files[0].resolve()}", soft_wrap=True, highlight=False, markup=False, style="bold")
