"""``samphony everything``: every object in a photo, or in all photos of a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from samphony.errors import MediaError

if TYPE_CHECKING:
    from samphony.predict.automatic.photo_files import Outcome, Segmenter

# typer reads these annotations at run time and on Python 3.10 with its own rules: Optional, not "| None".
Whole = Optional[int]  # noqa: UP045
Share = Optional[float]  # noqa: UP045
Text = Optional[str]  # noqa: UP045


def everything(
    source: Annotated[Path, typer.Argument(metavar="PHOTO|FOLDER", help="A photo, or a folder of photos.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("everything"),
    model: Annotated[str, typer.Option("--model", "-m", help="A model's name, or a weights file.")] = "nano",
    preset: Annotated[str, typer.Option("--preset", "-p", help="fast, balanced or thorough.")] = "balanced",
    points: Annotated[Whole, typer.Option(help="Clicks along each side, instead of the preset's.")] = None,
    iou: Annotated[Share, typer.Option(help="Predicted IoU that a mask must exceed, 0…1.")] = None,
    stability: Annotated[Share, typer.Option(help="Stability score that a mask must reach, 0…1.")] = None,
    min_area: Annotated[Whole, typer.Option(help="Pixels: smaller masks, holes and islands go.")] = None,
    tile: Annotated[Whole, typer.Option(help="Work in overlapping tiles of so many pixels: for large photos.")] = None,
    report: Annotated[bool, typer.Option("--report", help="Say why candidates were dropped.")] = False,
    redo: Annotated[bool, typer.Option("--redo", help="Also photos that are done.")] = False,
    device: Annotated[Text, typer.Option(help="cpu, cuda, … By default the best there is.")] = None,
) -> None:
    """Find every object in a photo or a folder of photos.

    Writes for each photo NAME_overlay.png, NAME_labels.png (one number a pixel) and NAME.json (COCO, run-length masks);
    for a folder also annotations.json. Photos that cannot be read are skipped and listed at the end. Interrupted, the
    same command goes on.
    """
    from samphony.predict.automatic.photo_files import combine, list_photos, segment_files

    photos = list_photos(source)
    chosen = {
        "points_per_side": points,
        "pred_iou_thresh": iou,
        "stability_score_thresh": stability,
        "min_mask_region_area": min_area,
    }
    overrides = {name: value for name, value in chosen.items() if value is not None}
    settings = {"model": model, "preset": preset, "tile": tile, **overrides}
    segment = _segmenter(model, preset, overrides, tile, device)
    console = Console()
    failed: list[Outcome] = []
    with _progress(console, len(photos)) as advance:
        for outcome in segment_files(photos, out, segment, settings, redo):
            if outcome.error is not None:
                failed.append(outcome)
            advance(outcome)
            _tell(console, outcome, report)
    if source.is_dir():
        console.print(f"wrote {combine(photos, out)}", soft_wrap=True, highlight=False, markup=False)
    else:
        console.print(f"wrote {out}", soft_wrap=True, highlight=False, markup=False)
    if failed:
        names = ", ".join(outcome.photo.name for outcome in failed)
        raise MediaError(f"{len(failed)} of {len(photos)} photos could not be read: {names}")


def _segmenter(model: str, preset: str, overrides: dict[str, Any], tile: int | None, device: str | None) -> Segmenter:
    from samphony.predict.automatic import SAM2AutomaticMaskGenerator
    from samphony.predict.build import build_sam2
    from samphony.weights.download import named_weights

    network = build_sam2(*named_weights(model), device=device)
    generator = SAM2AutomaticMaskGenerator.from_preset(network, preset, output_mode="coco_rle", **overrides)
    if tile is None:
        return generator.generate
    return lambda pixels: generator.generate_by_tiles(pixels, tile_size=tile, overlap=max(1, tile // 4))


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Any]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=total == 1) as bar:
        task = bar.add_task("photos", total=total)
        yield lambda outcome: bar.update(task, advance=1, description=outcome.photo.name)


def _tell(console: Console, outcome: Outcome, report: bool) -> None:
    if outcome.error is not None:
        line = f"skipped {outcome.photo.name}: {outcome.error}"
    elif outcome.resumed:
        line = f"{outcome.photo.name}: {outcome.found} masks, done before"
    else:
        line = f"{outcome.photo.name}: {outcome.found} masks"
    console.print(line, soft_wrap=True, highlight=False, markup=False)
    if report and outcome.records is not None:
        console.print(str(outcome.records.report), soft_wrap=True, highlight=False, markup=False)
