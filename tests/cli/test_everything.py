from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from samphony.cli.main import main
from samphony.media.label_map import draw_label_map, save_label_map
from samphony.media.photo import load_photo, save_photo
from samphony.model.base import SAM2Base
from samphony.model.config import SAM2Config
from samphony.predict.automatic.photo_files import output_names
from samphony.weights.save import save_weights

LENIENT = ["--points", "3", "--iou", "0", "--stability", "0", "--min-area", "0"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, tiny_model: SAM2Base, tiny_config: SAM2Config) -> Path:
    return save_weights(tmp_path_factory.mktemp("weights") / "mine.safetensors", tiny_model, tiny_config)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


def load_coco(path: Path) -> COCO:
    with redirect_stdout(io.StringIO()):
        return COCO(str(path))


def test_a_photo(photo: np.ndarray, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = save_photo(tmp_path / "square.png", photo), tmp_path / "out"
    assert run("everything", source, "-m", weights, "-o", out, *LENIENT, "--report") == 0
    assert sorted(p.name for p in out.iterdir()) == ["square.json", "square_labels.png", "square_overlay.png"]
    coco = load_coco(out / "square.json")
    annotations = coco.loadAnns(coco.getAnnIds())
    assert annotations
    labels = np.asarray(Image.open(out / "square_labels.png"))
    assert labels.dtype == np.uint8
    assert labels.shape == photo.shape[:2]
    smallest = min(annotations, key=lambda a: a["area"])
    mask = coco.annToMask(smallest) > 0
    assert (labels[mask] == smallest["id"]).all()  # small masks lie on top
    np.testing.assert_array_equal(load_photo(out / "square_overlay.png"), draw_label_map(photo, labels))
    printed = capsys.readouterr().out
    assert f"square.png: {len(annotations)} masks" in printed
    assert "pred_iou_thresh" in printed


def test_a_folder_is_resumed_and_broken_files_are_named(
    photo: np.ndarray, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    save_photo(folder / "a.png", photo)
    save_photo(folder / "b.png", photo[:40])
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff not a photo")
    (folder / "notes.txt").write_text("not looked at")
    call = ("everything", folder, "-m", weights, "-o", out, *LENIENT)
    assert run(*call) == 1
    told = capsys.readouterr()
    assert "skipped broken.jpg" in told.out
    assert "1 of 3 photos could not be read: broken.jpg" in told.err
    coco = load_coco(out / "annotations.json")
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["a.png", "b.png"]
    assert coco.loadImgs([2])[0]["height"] == 40
    assert len(set(coco.getAnnIds())) == len(coco.getAnnIds())

    (folder / "broken.jpg").unlink()
    stamp = (out / "a_overlay.png").stat().st_mtime_ns
    (out / "b.json").unlink()  # as if interrupted
    assert run(*call) == 0
    told = capsys.readouterr()
    assert "a.png" in told.out
    assert "done before" in told.out
    assert (out / "a_overlay.png").stat().st_mtime_ns == stamp
    assert (out / "b.json").exists()

    assert run(*call, "--preset", "fast") == 0  # other settings: all again
    assert "done before" not in capsys.readouterr().out
    assert run(*call, "--preset", "fast", "--redo") == 0
    assert "done before" not in capsys.readouterr().out


def test_tiles(photo: np.ndarray, weights: Path, tmp_path: Path) -> None:
    source, out = save_photo(tmp_path / "square.png", photo), tmp_path / "out"
    assert run("everything", source, "-m", weights, "-o", out, *LENIENT, "--tile", 32) == 0
    annotations = json.loads((out / "square.json").read_text())["annotations"]
    assert {tuple(a["segmentation"]["size"]) for a in annotations} == {photo.shape[:2]}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere.jpg"], 1, "nowhere.jpg does not exist"),
        ([".", "--preset", "best"], 1, "holds no photo"),
    ],
)
def test_wrong_calls(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("everything", *arguments) == code
    assert message in capsys.readouterr().err


def test_unknown_preset(photo: np.ndarray, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save_photo(tmp_path / "square.png", photo)
    assert run("everything", source, "-m", weights, "--preset", "best") == 2
    assert "there are fast, balanced, thorough" in capsys.readouterr().err


def test_photos_of_one_stem_keep_apart() -> None:
    names = output_names([Path("a.jpg"), Path("a.PNG"), Path("b.jpg"), Path("annotations.png")])
    assert list(names.values()) == ["a_jpg", "a_png", "b", "annotations_png"]


def test_many_labels_take_16_bits(tmp_path: Path) -> None:
    labels = np.arange(300, dtype=np.uint16).reshape(15, 20)
    path = save_label_map(tmp_path / "labels.png", labels)
    read = np.asarray(Image.open(path))
    np.testing.assert_array_equal(read, labels)
    drawn = draw_label_map(np.zeros((15, 20, 3), np.uint8), labels)
    assert (drawn[0, 0] == 0).all()
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 100
