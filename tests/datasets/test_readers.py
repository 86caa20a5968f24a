"""Every format people have: what is read, and that bad files are named and left out."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from samphony.datasets import readers
from samphony.datasets.readers import detect_format, read_labels, records_of, records_to_evaluate
from samphony.datasets.split import Split
from samphony.errors import ConfigError, MediaError

LABELS = np.zeros((20, 30), dtype=np.uint8)
LABELS[2:10, 3:12] = 1
LABELS[12:18, 15:28] = 2


def _picture(file: Path, size: tuple[int, int] = (30, 20)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (10, 200, 30)).save(file)


def _labels(file: Path, labels: NDArray[np.uint8] = LABELS, palette: bool = False) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(labels)
    if palette:
        picture = picture.convert("P")
        picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        picture.putdata([int(v) for v in labels.ravel()])
    picture.save(file)


def _zips(folder: Path) -> None:
    (folder / "photos").mkdir()
    (folder / "videos").mkdir()
    index = {
        "photos": {"set": {"kind": "salient"}},
        "videos": {"v.clip": {"set": "v", "labelled": True}, "v.dark": {"set": "v", "labelled": False}},
    }
    (folder / "index.json").write_text(json.dumps(index))
    picture, mask = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (30, 20)).save(picture, "WEBP")
    Image.fromarray(LABELS).save(mask, "PNG")
    for name, stems in (("photos/set", ["a", "b"]), ("videos/v.clip", ["00000", "00001"])):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for stem in stems:
                archive.writestr(f"images/{stem}.webp", picture.getvalue())
                archive.writestr(f"masks/{stem}.png", mask.getvalue())


def _pairs(folder: Path) -> None:
    for name in ("a", "b"):
        _picture(folder / "images" / f"{name}.jpg")
        _labels(folder / "masks" / f"{name}.png")
    _picture(folder / "images" / "lonely.jpg")


def _davis(folder: Path) -> None:
    for t in range(2):
        _picture(folder / "JPEGImages/480p/walk" / f"{t:05d}.jpg")
        _labels(folder / "Annotations/480p/walk" / f"{t:05d}.png", palette=True)
    _labels(folder / "Annotations/480p/walk/00009.png")


def _youtube(folder: Path) -> None:
    for t in (0, 5):
        _picture(folder / "JPEGImages/abc" / f"{t:05d}.jpg")
        _labels(folder / "Annotations/abc" / f"{t:05d}.png", palette=True)


def _coco(folder: Path) -> None:
    _picture(folder / "train" / "a.jpg")
    content = {
        "images": [
            {"id": 1, "file_name": "a.jpg", "height": 20, "width": 30},
            {"id": 2, "file_name": "missing.jpg", "height": 20, "width": 30},
        ],
        "annotations": [
            {"image_id": 1, "segmentation": [[3, 2, 12, 2, 12, 10, 3, 10]], "iscrowd": 0},
            {"image_id": 1, "segmentation": {"size": [20, 30], "counts": [320, 4, 276]}, "iscrowd": 1},
            {"image_id": 1, "segmentation": [[15, 12, 28, 12, 28, 18, 15, 18]]},
        ],
    }
    (folder / "annotations").mkdir()
    (folder / "annotations" / "instances.json").write_text(json.dumps(content))
    captions = {"images": content["images"], "annotations": [{"image_id": 1, "caption": "green"}]}
    (folder / "annotations" / "captions.json").write_text(json.dumps(captions))
    (folder / "other.json").write_text("[]")


Make = Callable[[Path], None]


@pytest.mark.parametrize(
    ("make", "kind", "names", "reports"),
    [
        (_zips, "zips", ["set/a", "set/b", "v.clip/00000", "v.clip/00001"], []),
        (_pairs, "pairs", ["a", "b"], ["lonely.jpg has no mask"]),
        (_davis, "davis", ["walk/00000", "walk/00001"], ["00009.png has no picture"]),
        (_youtube, "davis", ["abc/00000", "abc/00005"], []),
        (
            _coco,
            "coco",
            ["instances/a.jpg"],
            ["other.json is not a COCO file", "names missing.jpg", "captions.json has no annotation with a segm"],
        ),
    ],
)
def test_a_folder_is_recognised_and_read(
    tmp_path: Path, make: Make, kind: str, names: list[str], reports: list[str]
) -> None:
    make(tmp_path)
    assert detect_format(tmp_path) == kind
    lines: list[str] = []
    records = records_of(tmp_path, kind, lines.append)
    assert [r.name for r in records] == names
    assert len(lines) == len(reports)
    assert all(any(report in line for line in lines) for report in reports)
    image, labels = records[0].load()
    assert image.shape == (20, 30, 3)
    assert image.dtype == labels.dtype == np.uint8
    if kind != "coco":
        assert np.array_equal(labels, LABELS)
    assert (records[-1].clip is not None) == (kind in ("davis", "zips"))


def test_coco_polygons_codes_and_crowds(tmp_path: Path) -> None:
    _coco(tmp_path)
    _, labels = records_of(tmp_path, "coco", lambda line: None)[0].load()
    assert labels[5, 5] == 2, "the larger object is drawn first and has number 1"
    assert labels[14, 20] == 1
    assert (labels == 255).sum() == 4


def test_an_annotation_that_cannot_be_drawn_names_its_picture(tmp_path: Path) -> None:
    _coco(tmp_path)
    file = tmp_path / "annotations" / "instances.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["segmentation"] = {"size": [20, 30]}
    file.write_text(json.dumps(content))
    with pytest.raises(MediaError, match=r"a\.jpg: an annotation cannot be drawn"):
        records_of(tmp_path, "coco", lambda line: None)[0].load()


def test_sav_videos(tmp_path: Path) -> None:
    from pycocotools import mask as coco_mask

    from samphony.media.video_write import VideoWriter

    with VideoWriter(tmp_path / "sav_1.mp4", height=32, width=48, rate=Fraction(24)) as writer:
        for t in range(9):
            writer.write(np.full((32, 48, 3), 20 * t, dtype=np.uint8), t / 24)
    mask = np.zeros((32, 48), dtype=np.uint8)
    mask[4:20, 6:30] = 1
    rle = coco_mask.encode(np.asfortranarray(mask))
    rle["counts"] = rle["counts"].decode()
    content = {"video_id": "sav_1", "masklet": [[rle], [rle], [{}]], "video_fps": 24.0}
    (tmp_path / "sav_1_manual.json").write_text(json.dumps(content))
    (tmp_path / "sav_2_manual.json").write_text(json.dumps(content))
    lines: list[str] = []
    assert detect_format(tmp_path) == "sav"
    records = records_of(tmp_path, "sav", lines.append)
    assert [r.name for r in records] == [f"sav_1_manual/{t:05d}" for t in (0, 4, 8)]
    assert len(lines) == 1
    assert "sav_2.mp4" in lines[0]
    image, labels = records[1].load()
    assert abs(float(image.mean()) - 80) < 6, "the fifth frame"
    assert np.array_equal(labels, mask)
    assert not records[2].load()[1].any()


def test_damaged_files_are_named(tmp_path: Path) -> None:
    _pairs(tmp_path)
    (tmp_path / "images" / "a.jpg").write_bytes(b"no picture")
    _labels(tmp_path / "masks" / "b.png", LABELS[:10])
    first, second = records_of(tmp_path, "pairs", lambda line: None)
    with pytest.raises(MediaError, match=r"a\.jpg"):
        first.load()
    with pytest.raises(MediaError, match=r"b\.jpg is \(20, 30\), its labels \(10, 30\)"):
        second.load()


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    _zips(tmp_path)
    (tmp_path / "photos" / "set.zip").write_bytes(b"no archive")
    with pytest.raises(MediaError, match=r"set\.zip cannot be read"):
        records_of(tmp_path, "zips")


def test_black_and_white_masks_are_one_object(tmp_path: Path) -> None:
    _labels(tmp_path / "m.png", (LABELS > 0).astype(np.uint8) * 255)
    assert np.array_equal(read_labels(tmp_path / "m.png"), (LABELS > 0).astype(np.uint8))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("coco", "has no COCO .json"),
        ("davis", "no JPEGImages and Annotations"),
        ("pairs", "no images and masks"),
        ("xml", "data.format 'xml' does not exist"),
    ],
)
def test_folders_that_are_no_data_set(tmp_path: Path, kind: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        records_of(tmp_path, kind)
    with pytest.raises(ConfigError, match="is no data set that is known"):
        detect_format(tmp_path)


def test_archives_are_measured_on_the_split_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _zips(tmp_path)
    monkeypatch.setattr(readers, "read_split", lambda: Split(frozenset({"set/b"}), frozenset({"v.clip"})))
    assert [r.name for r in records_to_evaluate(tmp_path)] == ["set/b", "v.clip/00000", "v.clip/00001"]
    assert len(records_to_evaluate(tmp_path, everything=True)) == 4


def test_other_formats_are_measured_whole(tmp_path: Path) -> None:
    _pairs(tmp_path)
    assert len(records_to_evaluate(tmp_path)) == 2


def test_what_is_measured_must_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no folder"):
        records_to_evaluate(tmp_path / "missing")
