"""Readers of the formats people have: COCO JSON, DAVIS and YouTube-VOS folders, SA-V, folders of pictures and masks.

All are lazy: a reader lists, a record decodes. A picture that cannot be listed is reported by name and left out;
one that cannot be decoded raises MediaError from ``load``, which the cache builder reports and skips.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from samphony.datasets.sources import IGNORE, Labelled, Record, zip_records
from samphony.datasets.split import read_split
from samphony.errors import ConfigError, MediaError
from samphony.media.photo import load_photo
from samphony.media.video import FrameSource, open_video

_PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
_MOST = 250
"""Objects of one picture; the largest are kept."""

Report = Callable[[str], None]


def records_of(folder: Path, kind: str, report: Report = print) -> list[Record]:
    """All records of a folder in the named format: ``zips``, ``coco``, ``davis``, ``sav`` or ``pairs``."""
    readers: dict[str, Callable[[], Iterator[Record]]] = {
        "zips": lambda: iter(zip_records(folder)),
        "coco": lambda: coco_records(folder, report),
        "davis": lambda: frame_folder_records(folder, report),
        "sav": lambda: sav_records(folder, report),
        "pairs": lambda: pair_records(folder, report),
    }
    if kind not in readers:
        raise ConfigError(f"data.format {kind!r} does not exist; there are: {', '.join(readers)}")
    if not folder.exists():
        raise ConfigError(f"data.folder {folder} does not exist")
    return list(readers[kind]())


def records_to_evaluate(folder: Path, everything: bool = False, report: Report = print) -> list[Record]:
    """What a model is measured on: of archives the validation split unless ``everything``, of other formats all."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder")
    kind = detect_format(folder)
    records = records_of(folder, kind, report)
    if kind != "zips" or everything:
        return records
    split = read_split()
    return [r for r in records if split.holds(r.name, r.clip)]


def detect_format(folder: Path) -> str:
    """The format of a folder, by what lies in it. Raises ConfigError when it is none of them."""
    if (folder / "index.json").exists() and ((folder / "photos").is_dir() or (folder / "videos").is_dir()):
        return "zips"
    if (folder / "JPEGImages").is_dir():
        return "davis"
    if any(folder.rglob("*_manual.json")) or any(folder.rglob("*_auto.json")):
        return "sav"
    if (folder / "images").is_dir() and (folder / "masks").is_dir():
        return "pairs"
    if any(folder.glob("*.json")) or any(folder.glob("annotations/*.json")):
        return "coco"
    raise ConfigError(
        f"{folder} is no data set that is known: it needs index.json with photos/ and videos/ (archives), "
        "JPEGImages/ and Annotations/ (DAVIS, YouTube-VOS), NAME.mp4 with NAME_manual.json (SA-V), "
        "images/ and masks/, or a COCO .json"
    )


@dataclass(frozen=True)
class FileRecord:
    """A picture file and its label map file (indexed, grey, or two-coloured PNG)."""

    source: str
    kind: str
    name: str
    clip: str | None
    image: Path
    mask: Path

    def load(self) -> Labelled:
        """Decode both. Raises MediaError with the file's name."""
        return _checked(load_photo(self.image), read_labels(self.mask), self.image)


@dataclass(frozen=True)
class CocoRecord:
    """A picture of a COCO file with its annotations (polygons or RLE; crowds are to be ignored)."""

    source: str
    name: str
    image: Path
    size: tuple[int, int]
    annotations: tuple[dict[str, Any], ...] = field(repr=False)
    kind: str = "instances"
    clip: None = None

    def load(self) -> Labelled:
        """Decode the picture and draw its annotations, large ones first so that small ones stay visible."""
        H, W = self.size
        labels = np.zeros((H, W), dtype=np.uint8)
        try:
            drawn = [(_decode(a["segmentation"], H, W), bool(a.get("iscrowd"))) for a in self.annotations]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise MediaError(f"{self.image}: an annotation cannot be drawn: {error}") from error
        drawn.sort(key=lambda item: -int(item[0].sum()))
        number = 0
        for mask, crowd in drawn[:_MOST]:
            number += not crowd
            labels[mask] = IGNORE if crowd else number
        return _checked(load_photo(self.image), labels, self.image)


@dataclass(frozen=True)
class SavRecord:
    """An annotated frame of an SA-V video: a video file and the masklets of its JSON file."""

    source: str
    name: str
    clip: str
    video: Path
    frame: int
    masklets: tuple[dict[str, Any], ...] = field(repr=False)
    kind: str = "video"

    def load(self) -> Labelled:
        """Decode the frame and its masks, large ones first."""
        image = _video(self.video).read(self.frame)
        masks = [(n + 1, coco_mask.decode(rle).astype(bool)) for n, rle in enumerate(self.masklets) if rle]
        labels = np.zeros(image.shape[:2], dtype=np.uint8)
        for number, mask in sorted(masks, key=lambda item: -int(item[1].sum()))[:_MOST]:
            if mask.shape != labels.shape:
                raise MediaError(f"{self.video}: a masklet is {mask.shape}, the frame {labels.shape}")
            labels[mask] = number
        return _checked(np.asarray(image, dtype=np.uint8), labels, self.video)


def coco_records(folder: Path, report: Report) -> Iterator[CocoRecord]:
    """``*.json`` (also in ``annotations/``) of COCO form; pictures are looked for beside it, in ``images/`` and
    below.
    """
    files = sorted([*folder.glob("*.json"), *folder.glob("annotations/*.json")])
    if not files:
        raise ConfigError(f"data.folder {folder} has no COCO .json file")
    found = {p.name: p for p in sorted(folder.rglob("*")) if p.suffix.lower() in _PICTURES}
    for file in files:
        content = _json(file)
        if not isinstance(content, dict) or "images" not in content or "annotations" not in content:
            report(f"left out: {file} is not a COCO file")
            continue
        by_image: dict[Any, list[dict[str, Any]]] = {}
        for annotation in content["annotations"]:
            if annotation.get("segmentation"):
                by_image.setdefault(annotation.get("image_id"), []).append(annotation)
        if not by_image:
            report(f"left out: {file} has no annotation with a segmentation")
            continue
        for entry in content["images"]:
            path = found.get(Path(str(entry.get("file_name"))).name)
            annotations = by_image.get(entry.get("id"), [])
            if path is None:
                report(f"left out: {file.name} names {entry.get('file_name')}, which is not in {folder}")
            elif annotations:
                size = (int(entry["height"]), int(entry["width"]))
                yield CocoRecord(file.stem, f"{file.stem}/{entry['file_name']}", path, size, tuple(annotations))


def frame_folder_records(folder: Path, report: Report) -> Iterator[FileRecord]:
    """DAVIS (``JPEGImages/480p/CLIP``, ``Annotations/480p/CLIP``) and YouTube-VOS (``JPEGImages/CLIP``) folders."""
    images, masks = folder / "JPEGImages", folder / "Annotations"
    if not images.is_dir() or not masks.is_dir():
        raise ConfigError(f"data.folder {folder} has no JPEGImages and Annotations folders")
    for sub in ("480p", "Full-Resolution", "1080p"):
        if (images / sub).is_dir() and (masks / sub).is_dir():
            images, masks = images / sub, masks / sub
            break
    for clip in sorted(p for p in masks.iterdir() if p.is_dir()):
        for mask in sorted(clip.glob("*.png")):
            image = _beside(images / clip.name, mask.stem)
            if image is None:
                report(f"left out: {mask} has no picture in {images / clip.name}")
                continue
            yield FileRecord("video", "video", f"{clip.name}/{mask.stem}", clip.name, image, mask)


def pair_records(folder: Path, report: Report) -> Iterator[FileRecord]:
    """``images/NAME.*`` and ``masks/NAME.png``."""
    images, masks = folder / "images", folder / "masks"
    if not images.is_dir() or not masks.is_dir():
        raise ConfigError(f"data.folder {folder} has no images and masks folders")
    for image in sorted(p for p in images.iterdir() if p.suffix.lower() in _PICTURES):
        mask = _beside(masks, image.stem)
        if mask is None:
            report(f"left out: {image} has no mask in {masks}")
            continue
        yield FileRecord(folder.name, "instances", image.stem, None, image, mask)


def sav_records(folder: Path, report: Report) -> Iterator[SavRecord]:
    """SA-V training files: ``NAME.mp4`` with ``NAME_manual.json`` or ``NAME_auto.json`` (every fourth frame)."""
    for file in sorted([*folder.rglob("*_manual.json"), *folder.rglob("*_auto.json")]):
        clip = file.stem.rsplit("_", 1)[0]
        video = file.with_name(f"{clip}.mp4")
        if not video.exists():
            report(f"left out: {file} has no {video.name} beside it")
            continue
        try:
            content = _json(file)
            masklets: Sequence[Sequence[dict[str, Any]]] = content["masklet"]
            every = round(float(content.get("video_fps", 24)) / float(content.get("annot_fps", 6))) or 4
        except (MediaError, KeyError, TypeError, ValueError) as error:
            report(f"left out: {file}: {error}")
            continue
        name = file.stem
        for i, masks in enumerate(masklets):
            yield SavRecord("video", f"{name}/{i * every:05d}", name, video, i * every, tuple(masks))


def read_labels(path: Path) -> NDArray[np.uint8]:
    """A label map: indices of a palette, grey values, or a two-coloured mask as one object. Raises MediaError."""
    try:
        with Image.open(path) as picture:
            indexed = picture if picture.mode in ("P", "L", "1") else picture.convert("L")
            labels = np.asarray(indexed).astype(np.uint8)
    except (OSError, ValueError) as error:
        raise MediaError(f"{path} cannot be read: {error}") from error
    values = np.unique(labels)
    if len(values) == 2 and values[0] == 0 and values[1] == 255:
        return (labels > 0).astype(np.uint8)  # black and white: an object, not pixels to ignore
    return labels


def _decode(segmentation: Any, H: int, W: int) -> NDArray[np.bool_]:
    if isinstance(segmentation, list):
        rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, H, W))
    elif isinstance(segmentation["counts"], list):
        rle = coco_mask.frPyObjects(segmentation, H, W)
    else:
        rle = segmentation
    return np.asarray(coco_mask.decode(rle), dtype=bool)


def _checked(image: NDArray[Any], labels: NDArray[np.uint8], name: Path) -> Labelled:
    if image.shape[:2] != labels.shape:
        raise MediaError(f"{name} is {image.shape[:2]}, its labels {labels.shape}")
    return image.astype(np.uint8, copy=False), labels


def _beside(folder: Path, stem: str) -> Path | None:
    return next((p for s in sorted(_PICTURES) if (p := folder / f"{stem}{s}").exists()), None)


@lru_cache(maxsize=2)
def _video(path: Path) -> FrameSource:
    return open_video(path)


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MediaError(f"{file} cannot be read: {error}") from error
