"""``samphony evaluate`` on small folders: tables, JSON, pictures, bad files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samphony.cli.main import main
from samphony.model.base import SAM2Base
from samphony.model.config import SAM2Config
from samphony.predict import zoom
from samphony.weights.save import save_weights


@pytest.fixture
def weights(tmp_path: Path, fresh_tiny_model: Callable[..., SAM2Base], tiny_config: SAM2Config) -> str:
    return str(save_weights(tmp_path / "tiny.safetensors", fresh_tiny_model(), tiny_config))


def _frame(image: Path, mask: Path, shift: int = 0) -> None:
    rng = np.random.default_rng(shift)
    pixels, labels = rng.integers(0, 80, (32, 48, 3), dtype=np.uint8), np.zeros((32, 48), dtype=np.uint8)
    pixels[8:24, 6 + shift : 22 + shift] = 220
    labels[8:24, 6 + shift : 22 + shift] = 1
    labels[2:7, 30:44] = 2
    for file in (image, mask):
        file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(image)
    Image.fromarray(labels).save(mask)


def _run(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        main(["evaluate", *arguments])
    return left.value.code


def test_clicks_with_a_closer_look(tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = []
    around = zoom.window_around
    monkeypatch.setattr(zoom, "window_around", lambda *args: windows.append(around(*args)) or windows[-1])
    _frame(tmp_path / "data" / "images" / "p.png", tmp_path / "data" / "masks" / "p.png", shift=0)
    assert _run("clicks", str(tmp_path / "data"), "--model", weights, "--out", str(tmp_path / "out"), "--zoom") == 0
    assert any(windows)
    summary = json.loads((tmp_path / "out" / "clicks.json").read_text())["summary"]
    assert summary["zoom"] is True
    assert 0 <= summary["click5"] <= 1


def test_clicks(tmp_path: Path, weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    for i in range(3):
        _frame(data / "images" / f"p{i}.png", data / "masks" / f"p{i}.png", shift=i)
    (data / "images" / "p1.png").write_bytes(b"no picture")
    assert _run("clicks", str(data), "--model", weights, "--out", str(out), "--clicks", "3") == 0
    shown = re.sub(r"\s+", "", capsys.readouterr().out)
    assert "leftout" in shown
    assert "p1.png" in shown
    assert "4objects" in shown
    assert not re.search(r"\d…", shown), "every number fits a terminal of 80 columns"
    result = json.loads((out / "clicks.json").read_text())
    assert result["summary"]["objects"] == len(result["items"]) == 4
    assert result["summary"]["zoom"] is False
    assert {item["name"] for item in result["items"]} == {"p0", "p2"}
    for item in result["items"]:
        assert len(item["clicks"]) == len(item["clicks_f"]) == 3
        assert all(0 <= v <= 1 for v in (*item["clicks"], item["box"], item["oracle"], item["box_f"]))
        assert item["oracle"] >= item["clicks"][0]
    mean = np.mean([item["clicks"][0] for item in result["items"]])
    assert result["summary"]["click1"] == pytest.approx(mean)
    edges = np.mean([item["clicks_f"][0] for item in result["items"]])
    assert result["summary"]["f1"] == pytest.approx(edges)
    assert {"f3", "box_f"} < result["summary"].keys()
    assert sorted(p.name for p in out.glob("*.png")) == [
        f"{word}-{i}.png" for word in ("best", "worst") for i in (1, 2, 3, 4)
    ]


def test_video(tmp_path: Path, weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "davis", tmp_path / "out"
    for t in range(4):
        image = data / "JPEGImages/480p/walk" / f"{t:05d}.jpg"
        _frame(image, data / "Annotations/480p/walk" / f"{t:05d}.png", shift=3 * t)
    assert _run("video", str(data), "--model", weights, "--out", str(out)) == 0
    assert "semi-supervised" in capsys.readouterr().out
    for setting in ("mask", "click"):
        result = json.loads((out / f"video-{setting}.json").read_text())
        assert [item["object_id"] for item in result["items"]] == [1, 2]
        assert all(len(item["frames_j"]) == 2 for item in result["items"])
        assert result["summary"]["jf"] == pytest.approx((result["summary"]["j"] + result["summary"]["f"]) / 2)
    assert sorted(p.name for p in out.glob("*.png")) == [
        f"video-{setting}-{word}-{i}.png" for setting in ("click", "mask") for word in ("best", "worst") for i in (1, 2)
    ]


def test_listed_clips(tmp_path: Path, weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    data, out, names = tmp_path / "davis", tmp_path / "out", tmp_path / "val.txt"
    for clip in ("run", "walk"):
        for t in range(3):
            image = data / "JPEGImages/480p" / clip / f"{t:05d}.jpg"
            _frame(image, data / "Annotations/480p" / clip / f"{t:05d}.png", shift=3 * t)
    call = ("video", str(data), "--model", weights, "--out", str(out), "--setting", "mask", "--list", str(names))
    names.write_text("walk\n")
    assert _run(*call) == 0
    assert {item["clip"] for item in json.loads((out / "video-mask.json").read_text())["items"]} == {"walk"}
    assert not (out / "video-click.json").exists()
    for text, message in (("walk\nfly\n", "names fly: not among 2 clips"), ("\n", "names no clips")):
        names.write_text(text)
        assert _run(*call) == 2
        assert message in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert _run("clicks", str(data), "--model", weights) == 2
    assert "has no photos; for clips use samphony evaluate video" in re.sub(r"\s+", " ", capsys.readouterr().err)
    names.unlink()
    assert _run(*call) == 2
    assert "cannot be read" in re.sub(r"\s+", " ", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("clicks", "nowhere"), "nowhere is no folder"),
        (("video", "."), "is no data set that is known"),
        (("video", ".", "--setting", "box"), "--setting must be mask, click or both, not 'box'"),
    ],
)
def test_wrong_calls(
    arguments: tuple[str, ...],
    message: str,
    weights: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    assert _run(*arguments, "--model", weights) == 2
    assert message in capsys.readouterr().err
