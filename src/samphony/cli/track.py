"""``samphony track``: mark objects on a frame of a video, get their masks on all frames."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from samphony.errors import ConfigError, PromptError

if TYPE_CHECKING:
    from samphony.predict.video.track_file import Progress as Report
    from samphony.predict.video.track_file import VideoPrompt


# typer reads these annotations at run time and on Python 3.10 with its own rules: Optional, not "| None".
Texts = Optional[list[str]]  # noqa: UP045


def track(
    video: Annotated[str, typer.Argument(help="A video file, a URL, or a folder of images.")],
    point: Annotated[
        Texts, typer.Option(help="Click inside an object: FRAME:X,Y[:OBJ]; beside it: FRAME:-X,Y[:OBJ].")
    ] = None,
    box: Annotated[Texts, typer.Option(help="Box around an object: FRAME:X0,Y0,X1,Y1[:OBJ].")] = None,
    mask: Annotated[Texts, typer.Option(help="Mask picture of an object: FRAME:FILE[:OBJ].")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for masks, JSON and overlay.")] = Path("tracked"),
    model: Annotated[str, typer.Option("--model", "-m", help="A model's name, or a weights file.")] = "nano",
    device: Annotated[Optional[str], typer.Option(help="cpu, cuda, … By default the best there is.")] = None,  # noqa: UP045
    size: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Input size of the network, a multiple of 32: smaller is faster and coarser."),
    ] = None,
    direction: Annotated[str, typer.Option(help="forward, reverse or both.")] = "forward",
    start: Annotated[int, typer.Option(help="First frame to track.")] = 0,
    end: Annotated[Optional[int], typer.Option(help="Last frame to track.")] = None,  # noqa: UP045
    overlay: Annotated[bool, typer.Option(help="Write overlay.mp4.")] = True,
) -> None:
    """Track objects through a video.

    Writes OUT/masks/*.png (DAVIS palette), OUT/tracks.json (boxes, scores, run-length masks) and OUT/overlay.mp4.
    Objects are numbered 1, 2, …; several clicks may mark one object. Interrupted, the same command goes on.
    """
    prompts = read_prompts(point or [], box or [], mask or [])
    if direction not in ("forward", "reverse", "both"):
        raise PromptError(f"--direction must be forward, reverse or both, got {direction!r}")
    check_size(size)

    from samphony.predict.video.track_file import named_predictor, track_to_folder

    predictor = named_predictor(model, device, size)
    with progress_bar() as report:
        done = track_to_folder(
            predictor,
            video,
            prompts,
            out,
            direction=direction,  # type: ignore[arg-type]  # checked above
            first=start,
            last=end,
            overlay=overlay,
            progress=report,
        )
    typer.echo(f"{done.frames} frames in {done.json_path}")
    if done.overlay_path is not None:
        typer.echo(f"film in {done.overlay_path}")


def check_size(size: int | None) -> None:
    """Raise :class:`ConfigError` unless a network can have this input size."""
    if size is not None and (size <= 0 or size % 32):
        raise ConfigError(f"--size must be a positive multiple of 32, got {size}")


def read_prompts(points: list[str], boxes: list[str], masks: list[str]) -> list[VideoPrompt]:
    """Prompts from the command line; clicks and box of one object on one frame become one prompt.

    Raises:
        PromptError: text that is not in the form that the help shows, or no prompt at all.
    """
    from samphony.media.masks import load_mask
    from samphony.predict.video.track_file import VideoPrompt

    clicks: dict[tuple[int, int], list[tuple[float, float, int]]] = defaultdict(list)
    frames: dict[tuple[int, int], tuple[float, float, float, float] | None] = {}
    for text in points:
        key, (x, y) = _numbers("--point", text.replace(":-", ":", 1), 2)
        clicks[key].append((x, y, 0 if ":-" in text else 1))
        frames.setdefault(key, None)
    for text in boxes:
        key, (x0, y0, x1, y1) = _numbers("--box", text, 4)
        if frames.get(key) is not None:
            raise PromptError(f"--box {text}: object {key[1]} has a box on frame {key[0]} already")
        frames[key] = (x0, y0, x1, y1)
    prompts = [VideoPrompt(t, obj, tuple(clicks[t, obj]), box) for (t, obj), box in frames.items()]
    for text in masks:
        frame, _, rest = text.partition(":")
        file, _, obj = rest.rpartition(":")
        if not (file and obj.isdigit()):
            file, obj = rest, "1"
        if not (frame.isdigit() and file):
            raise PromptError(f"--mask {text}: must be FRAME:FILE[:OBJ]")
        if (int(frame), int(obj)) in frames:
            raise PromptError(
                f"--mask {text}: object {obj} has points or a box on frame {frame}; give one or the other"
            )
        prompts.append(VideoPrompt(int(frame), int(obj), mask=load_mask(file)))
    if not prompts:
        raise PromptError("mark at least one object with --point, --box or --mask")
    return prompts


def _numbers(option: str, text: str, count: int) -> tuple[tuple[int, int], list[float]]:
    """((frame, object), numbers) of FRAME:N,N…[:OBJ]."""
    form = "FRAME:X,Y[:OBJ]" if count == 2 else "FRAME:X0,Y0,X1,Y1[:OBJ]"
    parts = text.split(":")
    try:
        if len(parts) not in (2, 3):
            raise ValueError
        numbers = [float(n) for n in parts[1].split(",")]
        if len(numbers) != count:
            raise ValueError
        return (int(parts[0]), int(parts[2]) if len(parts) == 3 else 1), numbers
    except ValueError:
        raise PromptError(f"{option} {text}: must be {form}, for example {_EXAMPLES[count]}") from None


_EXAMPLES = {2: "0:210,180:1", 4: "0:150,60,330,250"}


@contextlib.contextmanager
def progress_bar() -> Iterator[Report]:
    """A bar for each kind of work, on the terminal's error stream."""
    from rich.console import Console

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        yield report
