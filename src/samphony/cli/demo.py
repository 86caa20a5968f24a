"""``samphony demo``: the shortest way from an installation to a picture and a film."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from samphony.assets import SAMPLE_PHOTO, SAMPLE_POINT
from samphony.cli.segment import show
from samphony.cli.track import progress_bar
from samphony.segmentation import segment


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("samphony-demo"),
    model: Annotated[str, typer.Option("--model", "-m", help="A model's name.")] = "nano",
    video: Annotated[bool, typer.Option(help="Track through the sample video, too.")] = True,
) -> None:
    """Segment the sample photo, and track an object through the sample video, into a folder."""
    console = Console()
    x, y = SAMPLE_POINT
    console.print(f"Photo: a click at ({x:g}, {y:g}), model {model}", style="bold", highlight=False)
    result = segment(SAMPLE_PHOTO, points=[SAMPLE_POINT], model=model)
    overlay, *others = result.save(out)
    show(result, [overlay, *others])
    look_at = [overlay]
    if video:
        from samphony.predict.video.demo import demo_video

        console.print(f"\nVideo: a box around the rabbit, later five clicks that correct, model {model}", style="bold")
        with progress_bar() as report:
            look_at += demo_video(out / "video", model, progress=report)
    console.print("\nLook at:", style="bold")
    for path in look_at:
        console.print(f"  {path.resolve()}", soft_wrap=True, highlight=False, markup=False)
