"""A compact cache of decoded training pictures: every picture is decoded and squashed to a square once.

Two memory-mapped arrays (``images.npy`` uint8 ``(N, S, S, 3)``, ``labels.npy`` uint8 ``(N, S, S)``) and
``index.json``. The aspect ratio is not kept, as the image predictor does not keep it either. The folder is written
beside its place and renamed, so that a half-written cache is never found.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samphony.datasets.sources import IGNORE, Record
from samphony.errors import MediaError

_CHUNK = 512


@dataclass(frozen=True)
class CachedPicture:
    """What the index knows of one cached picture: its object ids and their areas as shares of the picture."""

    source: str
    kind: str
    name: str
    clip: str | None
    ids: tuple[int, ...]
    areas: tuple[float, ...]


@dataclass(frozen=True)
class PictureCache:
    """Decoded pictures ``images`` (N, S, S, 3) and ``labels`` (N, S, S), memory-mapped, and the index."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    pictures: tuple[CachedPicture, ...]
    origin: str = ""
    """The folder that the pictures came from, where it is known."""

    @property
    def size(self) -> int:
        """Pixels per side."""
        return int(self.images.shape[1])

    def __len__(self) -> int:
        return len(self.pictures)


def build_cache(
    records: Sequence[Record],
    folder: Path,
    size: int,
    report: Callable[[str], None] = print,
    workers: int | None = None,
    origin: str = "",
) -> PictureCache:
    """Decode ``records`` into ``folder``; pictures that cannot be read are reported by name and left out.

    ``origin``, the data set's own folder, is kept, so that a cache is not taken for that of another data set.
    ``workers`` threads decode, one a core unless said.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    count = len(records)
    images = np.lib.format.open_memmap(partial / "images.npy", "w+", np.uint8, (count, size, size, 3))
    labels = np.lib.format.open_memmap(partial / "labels.npy", "w+", np.uint8, (count, size, size))
    pictures: list[CachedPicture] = []
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for first in range(0, count, _CHUNK):  # no more pictures wait in memory than these
            for made in pool.map(lambda r: _squash(r, size), records[first : first + _CHUNK]):
                if isinstance(made, MediaError):
                    report(f"left out: {made}")
                    continue
                at = len(pictures)
                picture, images[at], labels[at] = made
                pictures.append(picture)
                if len(pictures) % 1000 == 0:
                    report(f"{len(pictures)} of {count} pictures cached")
    index = {"size": size, "origin": origin, "pictures": [asdict(picture) for picture in pictures]}
    (partial / "index.json").write_text(json.dumps(index), encoding="utf-8")
    images.flush()
    labels.flush()
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)
    return open_cache(folder)


def open_cache(folder: Path) -> PictureCache:
    """Map a cache that `build_cache` wrote. Raises MediaError when it is missing or damaged."""
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        images = np.load(folder / "images.npy", mmap_mode="r")
        labels = np.load(folder / "labels.npy", mmap_mode="r")
    except (OSError, ValueError) as error:
        raise MediaError(f"{folder} is not a picture cache: {error}") from error
    pictures = tuple(
        CachedPicture(p["source"], p["kind"], p["name"], p["clip"], tuple(p["ids"]), tuple(p["areas"]))
        for p in index["pictures"]
    )
    return PictureCache(images[: len(pictures)], labels[: len(pictures)], pictures, index.get("origin", ""))


def _squash(record: Record, size: int) -> tuple[CachedPicture, NDArray[np.uint8], NDArray[np.uint8]] | MediaError:
    try:
        image, labels = record.load()
    except MediaError as error:
        return error
    square = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    square_labels = np.asarray(Image.fromarray(labels).resize((size, size), Image.Resampling.NEAREST))
    return _describe(record, square_labels), np.asarray(square), square_labels


def _describe(record: Record, labels: NDArray[np.uint8]) -> CachedPicture:
    counts = np.bincount(labels.ravel(), minlength=256)
    ids = tuple(int(i) for i in np.flatnonzero(counts) if 0 < i < IGNORE)
    areas = tuple(float(counts[i] / labels.size) for i in ids)
    return CachedPicture(record.source, record.kind, record.name, record.clip, ids, areas)


def training_records(records: Iterable[Record], holds: Callable[[str, str | None], bool]) -> list[Record]:
    """The records outside the validation split."""
    return [record for record in records if not holds(record.name, record.clip)]
