"""``samphony segment``: a photo, clicks and boxes in; overlay, mask, cut-out and COCO JSON out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from samphony.errors import ConfigError, PromptError
from samphony.media.photo import save_photo
from samphony.media.regions import SHOWN_MIN_AREA
from samphony.segmentation import KINDS, Segmentation
from samphony.segmentation import segment as segment_photo

_NUMBER = r"\d+(?:\.\d+)?"
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def segment(
    photo: Annotated[Path, typer.Argument(help="The photo, in any format that Pillow reads.", show_default=False)],
    point: Annotated[
        list[str] | None,
        typer.Option(
            "--point",
            "-p",
            metavar="X,Y",
            help="A click on the object; -X,Y is one beside it. Can be repeated.",
            show_default=False,
        ),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            "--box",
            "-b",
            metavar="X0,Y0,X1,Y1",
            help="A box around an object; several boxes are several objects.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="A model's name, or a weights file.")] = "nano",
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the results, or a picture file for the overlay alone.")
    ] = Path("samphony-out"),
    overlay: Annotated[
        bool | None, typer.Option("--overlay/--no-overlay", help="The photo with the mask over it.", show_default=False)
    ] = None,
    mask: Annotated[
        bool | None, typer.Option("--mask/--no-mask", help="The mask as a PNG, white on black.", show_default=False)
    ] = None,
    cutout: Annotated[
        bool | None,
        typer.Option("--cutout/--no-cutout", help="The object on a transparent ground.", show_default=False),
    ] = None,
    json: Annotated[
        bool | None, typer.Option("--json/--no-json", help="COCO JSON with run-length codes.", show_default=False)
    ] = None,
    min_area: Annotated[
        float, typer.Option(help="Specks and holes below this share of the photo are cleaned away; 0 leaves them.")
    ] = SHOWN_MIN_AREA,
    candidates: Annotated[bool, typer.Option(help="All three masks that the model proposes for a prompt.")] = False,
    zoom: Annotated[
        bool | None,
        typer.Option(
            "--zoom/--no-zoom",
            help="Look at small objects again, closer. By default for models with a small input, as the nano.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, … By default the best there is.", show_default=False)
    ] = None,
) -> None:
    """Segment objects in a photo from clicks and boxes.

    Without flags for outputs all are written; with --overlay, --mask, --cutout or --json only those.
    """
    clicks = [parse_click(text) for text in point or []]
    boxes = [parse_box(text) for text in box or []]
    if not clicks and not boxes:
        raise PromptError("give at least one --point X,Y or --box X0,Y0,X1,Y1")
    if not 0 <= min_area < 1:
        raise ConfigError(f"--min-area must be a share of the photo, from 0 to below 1, got {min_area}")
    flags = dict(zip(KINDS, (overlay, mask, cutout, json), strict=True))
    into_file = out.suffix.lower() in _PICTURES
    if into_file and any(flags.values()):
        raise ConfigError(f"--out {out} is a picture; with --overlay, --mask, --cutout and --json give a folder")
    result = segment_photo(
        photo,
        points=[(x, y) for x, y, _ in clicks] or None,
        labels=[label for _, _, label in clicks] or None,
        boxes=boxes or None,
        model=model,
        device=device,
        candidates=candidates,
        min_area=min_area,
        zoom=zoom,
    )
    files = [save_photo(out, result.overlay())] if into_file else result.save(out, chosen_kinds(flags))
    show(result, files)


def parse_click(text: str) -> tuple[float, float, int]:
    """``X,Y`` -> (x, y, 1) and ``-X,Y`` -> (x, y, 0).

    Raises:
        PromptError: anything else.
    """
    match = re.fullmatch(rf"([-+]?)({_NUMBER}),({_NUMBER})", text.replace(" ", ""))
    if match is None:
        raise PromptError(f"--point must be X,Y (on the object) or -X,Y (beside it) in pixels, got {text!r}")
    return float(match[2]), float(match[3]), 0 if match[1] == "-" else 1


def parse_box(text: str) -> tuple[float, float, float, float]:
    """``X0,Y0,X1,Y1`` -> its four numbers.

    Raises:
        PromptError: anything else.
    """
    match = re.fullmatch(",".join([rf"(-?{_NUMBER})"] * 4), text.replace(" ", ""))
    if match is None:
        raise PromptError(f"--box must be X0,Y0,X1,Y1 in pixels, got {text!r}")
    x0, y0, x1, y1 = map(float, match.groups())
    return x0, y0, x1, y1


def chosen_kinds(flags: dict[str, bool | None]) -> list[str]:
    """The outputs that flags ask for: those switched on, or, when none is, all that are not switched off."""
    on = [kind for kind, flag in flags.items() if flag]
    return on or [kind for kind, flag in flags.items() if flag is None]


def show(result: Segmentation, files: list[Path]) -> None:
    """Print a table of the masks and the files written."""
    console = Console()
    table = Table("mask", "score", "area", "box")
    for number, (score, mask, box) in enumerate(zip(result.scores, result.masks, result.boxes, strict=True), start=1):
        table.add_row(str(number), f"{score:.3f}", f"{mask.mean():.1%}", ", ".join(str(edge) for edge in box))
    console.print(table)
    for path in files:
        # Not wrapped: a path should stay one that can be clicked or copied.
        console.print(f"wrote {path}", soft_wrap=True, highlight=False, markup=False)
