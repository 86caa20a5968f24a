"""The folder of tracked masks: palette, overlaps, JSON, a journal that survives being cut off."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samphony.errors import MediaError
from samphony.media.masks import decode_rle
from samphony.media.video import open_video
from samphony.media.video_overlay import contact_sheet, overlay, write_overlay
from samphony.media.video_tracks import TrackedMask, TrackFolder, davis_palette, label_map


def square(x: int, label: int, side: int = 10) -> TrackedMask:
    """An object on a 30 × 40 frame."""
    mask = np.zeros((30, 40), bool)
    mask[5 : 5 + side, x : x + side] = True
    return TrackedMask(f"object {label}", label, mask, 0.875, 3.5)


def test_palette_is_that_of_davis() -> None:
    palette = davis_palette()
    assert palette[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert palette[255].tolist() == [224, 224, 192]
    assert len({tuple(colour) for colour in palette}) == 256


def test_lower_label_lies_on_top() -> None:
    labels = label_map([square(5, 1), square(10, 2)], 30, 40)
    assert labels[8, 12] == 1
    assert labels[8, 17] == 2


def test_pictures_and_json(tmp_path: Path) -> None:
    tracks = TrackFolder(tmp_path / "out", 30, 40)
    tracks.add(1, 0.04, [square(5, 1), square(20, 2)])
    tracks.add(0, 0.0, [square(4, 1), square(0, 2, side=0)])
    with Image.open(tmp_path / "out" / "masks" / "00001.png") as picture:
        assert picture.mode == "P"
        assert np.array(picture).max() == 2
        assert picture.getpalette()[3:6] == [128, 0, 0]  # type: ignore[index]
    content = json.loads(tracks.finish({"file_name": "film.mp4", "rate": 25.0}).read_text())
    assert content["videos"] == [{"id": 1, "file_name": "film.mp4", "width": 40, "height": 30, "rate": 25.0}]
    assert [image["frame_index"] for image in content["images"]] == [0, 1]
    assert content["categories"] == [{"id": 1, "name": "object 1"}, {"id": 2, "name": "object 2"}]
    first, empty, *_ = content["annotations"]
    assert (first["bbox"], first["area"], first["score"], first["object_score"]) == ([4, 5, 10, 10], 100, 0.875, 3.5)
    assert (empty["area"], empty["bbox"]) == (0, [0, 0, 0, 0])
    assert np.array_equal(decode_rle(first["segmentation"]), square(4, 1).mask)
    assert not (tmp_path / "out" / "tracks.jsonl").exists()


def test_later_answers_join_earlier_ones(tmp_path: Path) -> None:
    tracks = TrackFolder(tmp_path, 30, 40)
    tracks.add(3, 0.1, [square(5, 1)])
    tracks.add(3, 0.1, [square(20, 2)])
    tracks.add(3, 0.1, [square(6, 1)])
    assert [m.label for m in tracks.masks(3)] == [1, 2]
    assert np.array_equal(tracks.masks(3)[0].mask, square(6, 1).mask)
    with Image.open(tmp_path / "masks" / "00003.png") as picture:
        assert sorted(set(np.array(picture).ravel().tolist())) == [0, 1, 2]


def test_a_journal_that_was_cut_off(tmp_path: Path) -> None:
    tracks = TrackFolder(tmp_path, 30, 40, pictures=False)
    for t in range(3):
        tracks.add(t, t / 25, [square(t, 1)])
    journal = tmp_path / "tracks.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    again = TrackFolder(tmp_path, 30, 40, pictures=False)
    assert again.frames == [0, 1]
    again.add(2, 0.08, [square(9, 1)])
    assert TrackFolder(tmp_path, 30, 40).frames == [0, 1, 2]
    assert np.array_equal(again.masks(2)[0].mask, square(9, 1).mask)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MediaError, match="cannot be written"):
        TrackFolder(tmp_path / "file", 30, 40)


def test_a_full_disk_keeps_the_frames_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracks = TrackFolder(tmp_path, 30, 40)
    tracks.add(0, 0.0, [square(5, 1)])

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(MediaError, match=r"No space left.*the frames before are kept"):
        tracks.add(1, 0.04, [square(5, 1)])
    assert 0 in TrackFolder(tmp_path, 30, 40).frames
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["00000.png"]


def test_overlay_film_and_contact_sheet(tmp_path: Path) -> None:
    grey = [np.full((30, 40, 3), 90, np.uint8)] * 4
    source = open_video(grey)
    tracks = TrackFolder(tmp_path, 30, 40)
    for t in (1, 2):
        tracks.add(t, t / 25, [square(5, 2)] if t == 1 else [])
    drawn = overlay(grey[1], tracks, 1)
    assert not np.array_equal(drawn[5:15, 5:15], grey[1][5:15, 5:15])
    assert np.array_equal(overlay(grey[2], tracks, 2), grey[2])
    seen: list[tuple[int, int]] = []
    film = open_video(write_overlay(source, tracks, tmp_path / "film.mp4", progress=lambda a, b: seen.append((a, b))))
    assert len(film) == 2
    assert seen == [(1, 2), (2, 2)]
    sheet = contact_sheet(list(film), columns=2, width=80, gap=2)
    assert sheet.shape == (64, 166, 3)
