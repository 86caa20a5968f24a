"""``samphony evaluate``: clicks on photos, tracking in videos, against known masks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from samphony.datasets.sources import Record
    from samphony.evaluate.report import Row
    from samphony.evaluate.segmenter import Segmenter
    from samphony.evaluate.video import ClipData

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Measure a model on data with known masks.")

# typer reads these annotations at run time and on Python 3.10 with its own rules: Optional, not "| None".
Data = Annotated[Path, typer.Argument(help="A data set: archives, COCO, DAVIS/YouTube-VOS, SA-V, images/ and masks/.")]
Model = Annotated[str, typer.Option("--model", "-m", help="A model's name, or a weights file.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the JSON and the pictures.")]
Everything = Annotated[bool, typer.Option("--all", help="The whole data set, not its validation split.")]
Device = Annotated[Optional[str], typer.Option(help="cpu, cuda, … By default the best there is.")]  # noqa: UP045


_SHORT = {
    "objects": "n",
    "click1": "1",
    "click3": "3",
    "click5": "5",
    "oracle": "best3",
    "box_f": "boxf",
    "iou_error": "dIoU",
}
"""Headings of the click tables that fit a terminal of 80 columns."""


@app.command()
def clicks(
    data: Data,
    model: Model = "nano",
    out: Out = Path("samphony-evaluation"),
    count: Annotated[int, typer.Option("--clicks", help="Clicks on each object.")] = 5,
    limit: Annotated[int, typer.Option(help="Pictures of each source at most; 0 for all.")] = 0,
    objects: Annotated[int, typer.Option(help="Objects of a picture at most, the largest first; 0 for all.")] = 10,
    min_area: Annotated[float, typer.Option(help="Objects below this share of the picture are left out.")] = 0.001,
    zoom: Annotated[
        bool, typer.Option(help="With the second, closer look at small objects that segment takes.")
    ] = False,
    everything: Everything = False,
    device: Device = None,
) -> None:
    """Mean IoU after 1, 3 and 5 clicks, with a box, and of the best of three masks.

    The official protocol: clicks at the centre of the largest error, masks compared at the photo's own size, no
    post-processing.
    """
    import numpy as np

    from samphony.datasets.readers import records_to_evaluate
    from samphony.errors import ConfigError, MediaError
    from samphony.evaluate.clicks import ObjectResult, evaluate_picture, mean_of
    from samphony.evaluate.report import click_columns, click_rows, write_json

    console = Console()
    chosen = [r for r in records_to_evaluate(data, everything, console.print) if r.clip is None]
    if not chosen:
        raise ConfigError(f"{data} has no photos; for clips use samphony evaluate video")
    segmenter = _segmenter(model, device, zoom)
    results: list[ObjectResult] = []
    seen: dict[str, int] = {}
    began = time.perf_counter()
    for record in track(chosen, "pictures", console=console):
        if limit and seen.get(record.source, 0) >= limit:
            continue
        seen[record.source] = seen.get(record.source, 0) + 1
        try:
            image, labels = record.load()
        except MediaError as error:
            console.print(f"left out: {error}")
            continue
        counts = np.bincount(labels.ravel(), minlength=256)
        counts[0] = counts[255] = 0
        ids = [int(i) for i in np.argsort(counts)[::-1] if counts[i] >= max(min_area * labels.size, 1)]
        ids = ids[:objects] if objects else ids
        if ids:
            results += evaluate_picture(segmenter, image, labels, ids, record.name, record.kind, record.source, count)
    columns = click_columns(count)
    for title, by in (("by kind", lambda r: r.kind), ("by source", lambda r: r.source)):
        _show(console, title, ["objects", *columns], click_rows(results, columns, by))
    summary = {column: mean_of(results, column) for column in columns}
    about = {"model": model, "zoom": zoom, "objects": len(results)}
    write_json(out / "clicks.json", {**about, **summary}, results)
    _draw_extremes(segmenter, chosen, results, out)
    console.print(f"{len(results)} objects in {time.perf_counter() - began:.0f} s; details in {out}")


@app.command()
def video(
    data: Data,
    model: Model = "nano",
    out: Out = Path("samphony-evaluation"),
    setting: Annotated[str, typer.Option(help="mask (semi-supervised), click (one click), or both.")] = "both",
    names: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--list", help="A file with the clips to take, one a line, such as DAVIS's ImageSets/2017/val.txt."
        ),
    ] = None,
    size: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Input size of the network, a multiple of 32, in place of the model's own."),
    ] = None,
    everything: Everything = False,
    device: Device = None,
) -> None:
    """J, F and J&F of tracked objects: with the first mask given, and with one click.

    A DAVIS folder, or any other with clips. Objects of a clip are tracked together; the prompted frame and the last one
    are not measured (official). The worst and the best objects are drawn: the truth's contour green, the answer's red.
    """
    from samphony.cli.track import check_size
    from samphony.datasets.readers import records_to_evaluate
    from samphony.errors import ConfigError
    from samphony.evaluate.pictures import Extremes, track_sheet
    from samphony.evaluate.report import video_rows, write_json
    from samphony.evaluate.video import Setting, TrackResult, evaluate_clip, mean_jf
    from samphony.predict.video.track_file import named_predictor

    if setting not in ("mask", "click", "both"):
        raise ConfigError(f"--setting must be mask, click or both, not {setting!r}")
    check_size(size)
    settings: list[Setting] = ["mask", "click"] if setting == "both" else ["mask" if setting == "mask" else "click"]
    console = Console()
    clips = _clips([r for r in records_to_evaluate(data, everything, console.print) if r.clip is not None])
    if not clips:
        raise ConfigError(f"{data} has no clips; for photos use samphony evaluate clicks")
    if names is not None:
        clips = _listed(clips, names)
    predictor = named_predictor(model, device, size)
    results: dict[Setting, list[TrackResult]] = {s: [] for s in settings}
    extremes = {s: Extremes() for s in settings}
    for records in track(clips, "clips", console=console):
        clip = _load_clip(records, console)

        def keep(result: TrackResult, predicted: dict[int, NDArray[np.uint8]], clip: ClipData = clip) -> None:
            extremes[result.setting].offer(result.jf, lambda: track_sheet(result, clip, predicted))

        for s in settings:
            results[s] += evaluate_clip(predictor, clip, s, watch=keep)
    for s, rows in results.items():
        title = "semi-supervised (first mask given)" if s == "mask" else "one click"
        _show(console, title, ["objects", "J", "F", "J&F", "presence"], video_rows(rows))
        j, f, jf = mean_jf(rows)
        write_json(out / f"video-{s}.json", {"model": model, "j": j, "f": f, "jf": jf}, rows)
        extremes[s].save(out, f"video-{s}-")
    console.print(f"details in {out}")


def _clips(records: Sequence[Record]) -> list[list[Record]]:
    clips: dict[str, list[Record]] = {}
    for record in records:
        clips.setdefault(str(record.clip), []).append(record)
    return list(clips.values())


def _listed(clips: list[list[Record]], file: Path) -> list[list[Record]]:
    """The clips that a file names, in its order."""
    from samphony.errors import ConfigError

    try:
        wanted = file.read_text(encoding="utf-8").split()
    except OSError as error:
        raise ConfigError(f"--list {file} cannot be read: {error}") from error
    by_name = {str(records[0].clip): records for records in clips}
    missing = [name for name in wanted if name not in by_name]
    if missing or not wanted:
        raise ConfigError(
            f"--list {file} names {', '.join(missing) or 'no clips'}: not among {len(clips)} clips of the data"
        )
    return [by_name[name] for name in wanted]


def _load_clip(records: Sequence[Record], console: Console) -> ClipData:
    """Decode a clip; a frame that cannot be read is reported and left out."""
    from samphony.errors import MediaError
    from samphony.evaluate.video import ClipData

    frames: list[NDArray[np.uint8]] = []
    labels: dict[int, NDArray[np.uint8]] = {}
    for record in records:
        try:
            image, label = record.load()
        except MediaError as error:
            console.print(f"left out: {error}")
            continue
        labels[len(frames)] = label
        frames.append(image)
    return ClipData(str(records[0].clip), frames, labels)


def _segmenter(model: str, device: str | None, zoom: bool) -> Segmenter:
    from samphony.evaluate.segmenter import DoorSegmenter, ModelSegmenter
    from samphony.predict.build import build_sam2
    from samphony.predict.zoom import ZoomImagePredictor
    from samphony.weights.download import named_weights

    net = build_sam2(*named_weights(model), device=device, apply_postprocessing=False)
    return DoorSegmenter(ZoomImagePredictor(net)) if zoom else ModelSegmenter(net)


def _show(console: Console, title: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    # Narrow enough for every column of the clicks to be read on 80 columns.
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=0)
    table.add_column("", no_wrap=True, max_width=19)
    for column in columns:
        table.add_column(_SHORT.get(column, column), justify="right", no_wrap=True)
    for name, cells in rows:
        table.add_row(name, *cells, end_section=name == rows[-2][0] if len(rows) > 1 else False)
    console.print(table)


def _draw_extremes(
    segmenter: Segmenter, records: Sequence[Record], results: Sequence[object], out: Path, count: int = 4
) -> None:
    """Pictures of the objects with the worst and the best box answer: the truth beside the mask."""
    import torch

    from samphony.evaluate.clicks import ObjectResult, tight_box
    from samphony.evaluate.pictures import save_comparison

    ranked = sorted((r for r in results if isinstance(r, ObjectResult)), key=lambda r: r.box)
    by_name = {record.name: record for record in records}
    for word, some in (("worst", ranked[:count]), ("best", ranked[::-1][:count])):
        for i, result in enumerate(some):
            image, labels = by_name[result.name].load()
            truth = labels == result.object_id
            segmenter.set_image(image)
            corners = torch.tensor([[2, 3]], dtype=torch.int32)
            mask = segmenter.answer(tight_box(truth)[None], corners, None, several=False).logits[0, 0] > 0
            save_comparison(out / f"{word}-{i + 1}.png", image, mask.numpy(), truth)
