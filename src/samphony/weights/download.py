"""The weights of a model by name: found on this machine, or fetched, verified and cached."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from samphony.errors import CheckpointError
from samphony.weights.cache import cache_folder, local_weights
from samphony.weights.registry import NANO_FILE, WEIGHTS, WeightsFile, canonical_name
from samphony.weights.transfer import NetworkError, Progress, download_file, file_sha256

Source = Literal["auto", "url", "hub"]
_SUFFIXES = (".pt", ".pth", ".safetensors")


def find_weights(name: str, *, source: Source = "auto", progress: bool | None = None) -> Path:
    """Path of a model's weights, downloaded first when this machine has none.

    Args:
        name: any name of the model (see ``canonical_name``).
        source: ``"url"``, the official server; ``"hub"``, the Hugging Face hub; ``"auto"``, the server and, when
            it cannot be reached, the hub.
        progress: show a progress bar; by default when standard error is a terminal.

    Raises:
        ConfigError: no such model.
        CheckpointError: nothing here and nothing to be had; the message says what to fetch and where to put it.
    """
    model = canonical_name(name)
    found = local_weights(model)
    if found is not None:
        return found
    if model not in WEIGHTS:
        raise CheckpointError(f"the weights of {model!r} belong into the package, at {NANO_FILE}, and are not there")
    return download_weights(model, source=source, progress=progress)


def named_weights(model: str) -> tuple[str | None, Path]:
    """What a builder takes for a model's name, or for a weights file, which says itself what model it is.

    A name's weights are downloaded first when this machine has none; errors as ``find_weights``, and the builder's own
    for a file that is not there.
    """
    path = Path(model)
    if path.suffix in _SUFFIXES or path.is_file():
        return None, path
    return model, find_weights(model)


def download_weights(name: str, *, source: Source = "auto", progress: bool | None = None) -> Path:
    """Fetch a released model's weights, whether or not they are here; arguments and errors as ``find_weights``."""
    model = canonical_name(name)
    if model not in WEIGHTS:
        raise CheckpointError(f"the model {model!r} ships inside the package; there is nothing to download")
    weights = WEIGHTS[model]
    problems: list[str] = []
    if source in ("auto", "url"):
        try:
            return _from_server(weights, progress)
        except NetworkError as error:
            problems.append(str(error))
    if source in ("auto", "hub"):
        try:
            return _from_hub(weights)
        except NetworkError as error:
            problems.append(str(error))
    target = cache_folder() / weights.file
    raise CheckpointError(
        f"the weights of {model!r} are not on this machine and cannot be fetched ({'; '.join(problems)}). "
        f"Fetch {weights.url} on a machine that can (or {weights.file} from huggingface.co/{weights.hub_repo}) "
        f"and put it at {target}"
    )


def _from_server(weights: WeightsFile, progress: bool | None) -> Path:
    shown = sys.stderr.isatty() if progress is None else progress
    with _progress_bar(weights.file, shown) as report:
        return download_file(
            weights.url,
            cache_folder() / weights.file,
            sha256=weights.sha256,
            size=weights.size,
            progress=report,
        )


def _from_hub(weights: WeightsFile) -> Path:
    """Into the hub's own cache, which other software shares; resumable and atomic by huggingface-hub."""
    from huggingface_hub import hf_hub_download

    name = f"{weights.hub_repo}/{weights.file}"
    try:
        path = Path(hf_hub_download(weights.hub_repo, weights.file))
    except Exception as error:  # the hub's HTTP library changes between versions, and its errors with it
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise NetworkError(f"{name} on the hub: {reason}") from error
    found = file_sha256(path)
    if weights.sha256 not in (None, found):
        raise CheckpointError(f"{path}: wrong checksum, SHA-256 is {found} where {weights.sha256} is published")
    return path


@contextmanager
def _progress_bar(title: str, shown: bool) -> Iterator[Progress]:
    """A bar on standard error: name, share, size, speed, time left."""
    if not shown:
        yield lambda done, total: None
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
