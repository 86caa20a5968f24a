"""``samphony download``: the weights of models into the cache folder."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer
from rich.console import Console

from samphony.weights.cache import local_weights
from samphony.weights.download import download_weights
from samphony.weights.registry import canonical_name


class Source(str, Enum):
    """Where from: the official server, the Hugging Face hub, or the first that can be reached."""

    auto = "auto"
    url = "url"
    hub = "hub"


def download(
    model: Annotated[list[str], typer.Argument(help="Models by name, as samphony models lists them.")],
    source: Annotated[Source, typer.Option(help="The official server, the hub, or whichever answers.")] = Source.auto,
    force: Annotated[bool, typer.Option("--force", help="Fetch again what is here.")] = False,
) -> None:
    """Fetch the weights of models: resumed if cut, verified, kept for all later use."""
    console = Console()
    for name in [canonical_name(name) for name in model]:
        here = None if force else local_weights(name)
        path = here or download_weights(name, source=source.value)
        console.print(f"{name} {'is here' if here else 'fetched'}: {path}", soft_wrap=True, highlight=False)
