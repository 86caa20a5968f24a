"""A folder of tracked masks: palette PNGs as in DAVIS, COCO-style JSON, and a journal that survives an interruption.

::

    OUT/masks/00000.png   one picture a frame, pixel = object label, DAVIS palette
    OUT/tracks.json       boxes, scores and run-length codes of every frame
    OUT/tracks.jsonl      the journal, one line a frame; gone once tracks.json is written
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pycocotools import mask as coco

from samphony.errors import MediaError
from samphony.files import replacing
from samphony.media.masks import BoolArray, decode_rle, encode_rle


@dataclass(frozen=True)
class TrackedMask:
    """One object on one frame: mask (H,W), label 1…255 in pictures, predicted IoU, object score (logit)."""

    obj_id: int | str
    label: int
    mask: BoolArray
    score: float
    object_score: float


def davis_palette() -> npt.NDArray[np.uint8]:
    """(256,3) colours of DAVIS and Pascal VOC: the bits of the label, spread over the three channels."""
    labels = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= (((labels >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return palette


def save_label_map(path: Path, labels: npt.NDArray[np.uint8]) -> None:
    """Write (H,W) labels as a palette PNG."""
    picture = Image.fromarray(labels)
    picture.putpalette(davis_palette().tobytes())
    with replacing(path) as part:
        picture.save(part, format="PNG")


def label_map(masks: Sequence[TrackedMask], height: int, width: int) -> npt.NDArray[np.uint8]:
    """(H,W) labels; where objects overlap the lower label lies on top, as in the official tool."""
    labels = np.zeros((height, width), np.uint8)
    for tracked in sorted(masks, key=lambda m: -m.label):
        labels[tracked.mask] = tracked.label
    return labels


class TrackFolder:
    """Collects the masks of a video, frame by frame and in any order, in little memory.

    Args:
        folder: where to write; made if it does not exist.
        height, width: of the video.
        pictures: also write the mask pictures.
    """

    def __init__(self, folder: Path, height: int, width: int, *, pictures: bool = True) -> None:
        self.folder = Path(folder)
        self.height, self.width = height, width
        self.pictures = pictures
        self._journal = self.folder / "tracks.jsonl"
        self._places: dict[int, list[int]] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self._journal.exists():
                self._read_places()
        except OSError as error:
            raise MediaError(f"{self.folder} cannot be written: {error}") from error

    @property
    def frames(self) -> list[int]:
        """Frames with masks, ascending."""
        return sorted(self._places)

    @property
    def json_path(self) -> Path:
        """The JSON that :meth:`finish` writes."""
        return self.folder / "tracks.json"

    def clear(self) -> None:
        """Forget what an earlier run left, its mask pictures included."""
        if self._journal.exists() or self.json_path.exists():
            for picture in (self.folder / "masks").glob("[0-9]*.png"):
                picture.unlink()
        self._journal.unlink(missing_ok=True)
        self._places.clear()

    def add(self, frame_idx: int, time: float, masks: Sequence[TrackedMask]) -> None:
        """Store the masks of a frame. Objects that an earlier call gave for it stay, unless they are given again."""
        line = {
            "frame": frame_idx,
            "time": round(time, 6),
            "objects": [
                {
                    "id": m.obj_id,
                    "label": m.label,
                    "score": round(m.score, 6),
                    "object_score": round(m.object_score, 6),
                    "rle": encode_rle(m.mask),
                }
                for m in masks
            ],
        }
        try:
            with self._journal.open("ab") as journal:
                place = journal.tell()
                journal.write(json.dumps(line).encode() + b"\n")
            self._places.setdefault(frame_idx, []).append(place)
            if self.pictures:
                merged = self.masks(frame_idx) if len(self._places[frame_idx]) > 1 else masks
                path = self.folder / "masks" / f"{frame_idx:05d}.png"
                save_label_map(path, label_map(merged, self.height, self.width))
        except OSError as error:
            raise MediaError(f"{self.folder} cannot be written: {error}; the frames before are kept") from error

    def masks(self, frame_idx: int) -> list[TrackedMask]:
        """The masks of a frame, by label."""
        found = [
            TrackedMask(o["id"], o["label"], decode_rle(o["rle"]), o["score"], o["object_score"])
            for o in self._entry(frame_idx)["objects"]
        ]
        return sorted(found, key=lambda m: m.label)

    def finish(self, video: Mapping[str, Any]) -> Path:
        """Write ``tracks.json`` and remove the journal. ``video`` describes the source (``file_name``, ``rate``, …)."""
        objects: dict[int, int | str] = {}
        number = 0
        with replacing(self.json_path) as part, part.open("w", encoding="utf-8") as out:
            header = {"file_name": video.get("file_name"), "width": self.width, "height": self.height, **video}
            out.write(f'{{"videos": [{json.dumps({"id": 1, **header})}],\n"images": [\n')
            images = ({"id": t, "video_id": 1, "frame_index": t, "time": self._entry(t)["time"], "width": self.width,
                       "height": self.height, "file_name": f"masks/{t:05d}.png"} for t in self.frames)  # fmt: skip
            out.write(",\n".join(json.dumps(image) for image in images))
            out.write('\n],\n"annotations": [\n')
            separator = ""
            for t in self.frames:
                for o in self._entry(t)["objects"]:
                    number += 1
                    objects[o["label"]] = o["id"]
                    out.write(separator + json.dumps(_annotation(number, t, o)))
                    separator = ",\n"
            categories = [{"id": label, "name": str(objects[label])} for label in sorted(objects)]
            out.write(f'\n],\n"categories": {json.dumps(categories)}}}\n')
        self._journal.unlink(missing_ok=True)
        return self.json_path

    def _entry(self, frame_idx: int) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        by_label: dict[int, Any] = {}
        with self._journal.open("rb") as journal:
            for place in self._places[frame_idx]:
                journal.seek(place)
                merged = json.loads(journal.readline())
                by_label |= {o["label"]: o for o in merged["objects"]}
        return {**merged, "objects": [by_label[label] for label in sorted(by_label)]}

    def _read_places(self) -> None:
        """Index a journal from an earlier run; a line that was cut off is dropped."""
        end = 0
        with self._journal.open("rb") as journal:
            for frame_idx, place, end in _complete_lines(journal):  # noqa: B007
                self._places.setdefault(frame_idx, []).append(place)
        if end < self._journal.stat().st_size:
            with self._journal.open("rb+") as journal:
                journal.truncate(end)


def _complete_lines(journal: Any) -> Iterator[tuple[int, int, int]]:
    place = 0
    for line in journal:
        if not line.endswith(b"\n"):
            return
        try:
            frame_idx = int(json.loads(line)["frame"])
        except (ValueError, KeyError, TypeError):
            return
        yield frame_idx, place, place + len(line)
        place += len(line)


def _annotation(number: int, frame_idx: int, o: Mapping[str, Any]) -> dict[str, Any]:
    rle = {"size": o["rle"]["size"], "counts": o["rle"]["counts"].encode("ascii")}
    return {
        "id": number,
        "image_id": frame_idx,
        "category_id": o["label"],
        "object_id": o["id"],
        "segmentation": o["rle"],
        "bbox": [float(v) for v in coco.toBbox(rle)],
        "area": int(coco.area(rle)),
        "iscrowd": 0,
        "score": o["score"],
        "object_score": o["object_score"],
    }
