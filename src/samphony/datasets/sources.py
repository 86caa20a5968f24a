"""Labelled pictures, wherever they lie: one record a picture, read only when it is asked for.

A label map is ``(H, W)`` uint8: 0 nothing labelled, 1…250 objects, 255 ignore. Pictures of a clip carry the clip's
name, so that the same records serve photos and videos.
"""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samphony.errors import MediaError

IGNORE = 255
"""Label of pixels that count neither for nor against a mask."""

Labelled = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""A picture ``(H, W, 3)`` RGB and its label map ``(H, W)``."""


class Record(Protocol):
    """One labelled picture of any format."""

    @property
    def source(self) -> str:
        """The data set, for weighing; ``video`` sets start with ``video:``."""

    @property
    def kind(self) -> str:
        """``salient``, ``instances``, ``regions``, ``parts``, ``odd`` or ``video``."""

    @property
    def name(self) -> str:
        """Unique name of the picture, for reports and for the split."""

    @property
    def clip(self) -> str | None:
        """Name of the clip the picture belongs to, or None for a photo."""

    def load(self) -> Labelled:
        """Decode picture and labels. Raises MediaError with the file's name."""


class _Archives:
    """Open zip files, one handle a file, safe to read from several threads."""

    def __init__(self) -> None:
        self._files: dict[Path, zipfile.ZipFile] = {}
        self._lock = threading.Lock()

    def read(self, path: Path, member: str) -> bytes:
        with self._lock:
            if path not in self._files:
                self._files[path] = zipfile.ZipFile(path)
            return self._files[path].read(member)


@dataclass(frozen=True)
class ZipRecord:
    """A picture and its label map inside an archive of ``images/`` and ``masks/``."""

    source: str
    kind: str
    name: str
    clip: str | None
    path: Path
    image_member: str
    mask_member: str
    archives: _Archives

    def load(self) -> Labelled:
        """Decode picture and labels. Raises MediaError with the archive's and the member's name."""
        try:
            image = Image.open(io.BytesIO(self.archives.read(self.path, self.image_member))).convert("RGB")
            labels = Image.open(io.BytesIO(self.archives.read(self.path, self.mask_member)))
            pair = np.asarray(image, dtype=np.uint8), np.asarray(labels, dtype=np.uint8)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise MediaError(f"{self.path}:{self.image_member} cannot be read: {error}") from error
        if pair[0].shape[:2] != pair[1].shape:
            raise MediaError(f"{self.path}:{self.mask_member} is {pair[1].shape}, its picture {pair[0].shape[:2]}")
        return pair


def zip_records(folder: Path) -> Iterator[ZipRecord]:
    """All labelled pictures of a folder of ``photos/*.zip`` and ``videos/*.zip`` with its ``index.json``."""
    index_file = folder / "index.json"
    try:
        index = json.loads(index_file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MediaError(f"{index_file} cannot be read: {error}") from error
    archives = _Archives()
    for source, entry in index["photos"].items():
        path = folder / "photos" / f"{source}.zip"
        for stem, image, mask in _pairs(path):
            yield ZipRecord(source, entry["kind"], f"{source}/{stem}", None, path, image, mask, archives)
    for clip, entry in index["videos"].items():
        if not entry["labelled"]:
            continue
        path = folder / "videos" / f"{clip}.zip"
        for stem, image, mask in _pairs(path):
            yield ZipRecord(f"video:{entry['set']}", "video", f"{clip}/{stem}", clip, path, image, mask, archives)


def _pairs(path: Path) -> list[tuple[str, str, str]]:
    """Stem, image member and mask member of every picture that has both, in name order."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise MediaError(f"{path} cannot be read: {error}") from error
    masks = {Path(m).stem: m for m in members if m.startswith("masks/")}
    images = {Path(m).stem: m for m in members if m.startswith("images/")}
    return [(stem, images[stem], masks[stem]) for stem in sorted(images) if stem in masks]
