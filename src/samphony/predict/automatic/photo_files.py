"""Segment everything in photo files: overlay, label map and COCO JSON for each, a folder resumable.

For ``cup.jpg`` there are ``cup_overlay.png``, ``cup_labels.png`` (label k is annotation k) and ``cup.json``, which is
written last and holds the settings: a photo is done if its JSON names the same settings. A folder also gets
``annotations.json`` with all its photos.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samphony.errors import MediaError, SamphonyError
from samphony.files import replacing
from samphony.media.label_map import draw_label_map, save_label_map
from samphony.media.photo import load_photo, save_photo
from samphony.predict.automatic.records import MaskRecords

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
COMBINED = "annotations.json"

Segmenter = Callable[[Any], MaskRecords]
"""Pixels (H,W,3) to records."""


@dataclass(frozen=True)
class Outcome:
    """What became of one photo: ``found`` masks, or why there are none; ``resumed`` if it was done before."""

    photo: Path
    found: int = 0
    resumed: bool = False
    error: str | None = None
    records: MaskRecords | None = None


def list_photos(source: str | os.PathLike[str]) -> list[Path]:
    """A photo, or the photos of a folder by name.

    Raises:
        MediaError: there is no such file or folder, or no photo in it.
    """
    source = Path(source)
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise MediaError(f"{source} does not exist: give a photo or a folder of photos")
    photos = sorted(p for p in source.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES and p.is_file())
    if not photos:
        raise MediaError(f"folder {source} holds no photo ({', '.join(PHOTO_SUFFIXES)})")
    return photos


def output_names(photos: Sequence[Path]) -> dict[Path, str]:
    """A name for each photo's files: its stem, with the suffix where two photos share a stem."""
    stems = Counter(photo.stem for photo in photos)
    taken = Path(COMBINED).stem
    return {p: p.stem if stems[p.stem] == 1 and p.stem != taken else f"{p.stem}_{p.suffix[1:].lower()}" for p in photos}


def segment_files(
    photos: Sequence[Path], out: Path, segment: Segmenter, settings: dict[str, Any], redo: bool = False
) -> Iterator[Outcome]:
    """Segment photos one by one; those that cannot be read are reported and left out.

    Args:
        photos: files.
        out: folder for the results, which is made.
        segment: finds the masks of a photo.
        settings: what the result depends on, ready for JSON; photos that were done with the same are not done again.
        redo: do them all again.
    """
    names = output_names(photos)
    for photo in photos:
        target = out / f"{names[photo]}.json"
        before = None if redo else _done(target, photo, settings)
        if before is not None:
            yield Outcome(photo, found=before, resumed=True)
            continue
        try:
            pixels = load_photo(photo)
            records = segment(pixels)
        except SamphonyError as error:
            yield Outcome(photo, error=str(error))
            continue
        labels = records.label_map()
        save_label_map(out / f"{names[photo]}_labels.png", labels)
        save_photo(out / f"{names[photo]}_overlay.png", draw_label_map(pixels, labels))
        _write_json(target, _dataset(photo, records, settings))
        yield Outcome(photo, found=len(records), records=records)


def combine(photos: Sequence[Path], out: Path) -> Path:
    """Write the annotations of all photos that are done as one COCO file."""
    names = output_names(photos)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    categories: list[dict[str, Any]] = []
    for photo in photos:
        path = out / f"{names[photo]}.json"
        if not path.exists():
            continue
        one = json.loads(path.read_text(encoding="utf-8"))
        number = len(images) + 1
        images.append({**one["images"][0], "id": number})
        annotations += [
            {**a, "id": len(annotations) + i, "image_id": number} for i, a in enumerate(one["annotations"], 1)
        ]
        categories = one["categories"]
    target = out / COMBINED
    _write_json(target, {"images": images, "categories": categories, "annotations": annotations})
    return target


def _dataset(photo: Path, records: MaskRecords, settings: dict[str, Any]) -> dict[str, Any]:
    height, width = records.hw
    return {
        "info": _info(photo, settings),
        "images": [{"id": 1, "file_name": photo.name, "width": width, "height": height}],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": records.to_coco(),
    }


def _info(photo: Path, settings: dict[str, Any]) -> dict[str, Any]:
    state = photo.stat()
    return {"settings": settings, "bytes": state.st_size, "modified": state.st_mtime_ns}


def _done(target: Path, photo: Path, settings: dict[str, Any]) -> int | None:
    """The number of masks of a photo that was done with these settings."""
    try:
        data = json.loads(target.read_text(encoding="utf-8"))
        if data["info"] == _info(photo, settings):
            return len(data["annotations"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or not ours: do it again
    return None


def _write_json(path: Path, data: dict[str, Any]) -> None:
    try:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(data), encoding="utf-8")
    except OSError as error:
        raise MediaError(f"cannot write {path}: {error}") from error
