"""The live display of a run."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from samphony.train.loop import Trainer

_SHOWN = {
    "loss/total": "loss",
    "clip/loss": "clip",
    "iou/click": "click",
    "iou/box": "box",
    "pictures_per_second": "per s",
    "validation/score": "score",
}
"""Numbers of the log beside the bar, under names that leave room for it on 80 columns."""


def follow(trainer: Trainer, console: Console) -> None:
    """Run to the end under a bar with the numbers that matter; other processes than the first are silent."""
    if trainer.team.rank != 0:
        trainer.run()
        return
    bar = Progress(
        TextColumn("step"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
        console=console,
        refresh_per_second=2,
    )
    with bar:
        task = bar.add_task("", total=trainer.recipe.steps, completed=trainer.state.step, numbers="")

        def show(step: int, values: dict[str, float]) -> None:
            numbers = "  ".join(f"{name} {values[k]:.2f}" for k, name in _SHOWN.items() if k in values)
            bar.update(task, completed=step, numbers=numbers)

        trainer.log.watch(show)
        trainer.run(each=lambda step: bar.update(task, completed=step))
    console.print(f"weights: {trainer.folder / 'final.safetensors'}", soft_wrap=True, highlight=False, markup=False)
