"""Named tensors in safetensors files: written whole or not at all, read without running anything.

Weights, image embeddings and saved sessions use the same two functions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from samphony.errors import CheckpointError
from samphony.files import replacing


def save_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> Path:
    """Write tensors and a few strings about them to a safetensors file.

    Raises:
        CheckpointError: the file cannot be written.
    """
    path = Path(path)
    # Shared storage is refused by the format, and views would be written with what they are views of.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    try:
        with replacing(path) as temporary:
            save_file(plain, temporary, metadata=dict(metadata or {}))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot write {path}: {error}") from error
    return path


def load_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what ``save_tensors`` wrote: the tensors, on the CPU, and the strings.

    Raises:
        CheckpointError: the file is missing, cut short or not a safetensors file.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Only the strings of a safetensors file; no tensor is read.

    Raises:
        CheckpointError: as ``load_tensors``.
    """
    with _opened(path) as file:
        return file.metadata() or {}


def is_safetensors(path: str | os.PathLike[str]) -> bool:
    """Whether a file looks like safetensors: eight bytes with the length of a header, then JSON.

    Raises:
        CheckpointError: the file cannot be read.
    """
    return read_head(path)[8:9] == b"{"


def read_head(path: str | os.PathLike[str]) -> bytes:
    """The first 64 bytes of a weights file, which tell its kind.

    Raises:
        CheckpointError: the file is missing, empty or cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(64)
    except FileNotFoundError as error:
        raise CheckpointError(f"weights file {path} does not exist") from error
    except OSError as error:
        raise CheckpointError(f"weights file {path} cannot be read: {error.strerror or error}") from error
    if not head:
        raise CheckpointError(f"{path}: empty file")
    return head


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: damaged, cut short or not a safetensors file ({error})") from error
