"""``samphony train``: train or fine-tune a model by a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as recipes/nano.toml or recipes/finetune.toml.")],
    change: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the recipe. Can be repeated.")
    ] = [],  # noqa: B006
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run; one found there is resumed.")] = Path(
        "runs/run"
    ),
    data: Annotated[Optional[Path], typer.Option(help="The data set; sets data.folder and its format.")] = None,  # noqa: UP045
    threads: Annotated[int, typer.Option(help="Threads of a process; 0 leaves it to torch.")] = 0,
) -> None:
    """Train or fine-tune a model by a recipe.

    Killed at any moment, the same command goes on from the last checkpoint. On several GPUs or processes: torchrun
    --nproc-per-node N -m samphony.cli.main train RECIPE.
    """
    from samphony.datasets.readers import detect_format
    from samphony.train.progress import follow
    from samphony.train.recipe import load_recipe
    from samphony.train.start import start

    changes = list(change)
    if data is not None:
        changes = [f'data.folder="{data}"', f'data.format="{detect_format(data)}"', *changes]
    if threads:
        import torch

        torch.set_num_threads(threads)
    console = Console()
    trainer = start(load_recipe(recipe, changes), out, lambda line: console.print(line))
    follow(trainer, console)
