from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from samphony.cli.main import main
from samphony.cli.segment import chosen_kinds, parse_box, parse_click
from samphony.errors import PromptError
from samphony.media.masks import load_mask
from samphony.media.photo import load_photo, save_photo
from samphony.model.base import SAM2Base
from samphony.model.config import SAM2Config
from samphony.segmentation import segment
from samphony.weights.save import save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, tiny_model: SAM2Base, tiny_config: SAM2Config) -> Path:
    return save_weights(tmp_path_factory.mktemp("weights") / "mine.safetensors", tiny_model, tiny_config)


@pytest.fixture
def square(tmp_path: Path, photo: np.ndarray) -> Path:
    return save_photo(tmp_path / "square.png", photo)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


def test_all_outputs(square: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run("segment", square, "--point", "40,24", "--point", "-5,5", "-m", weights, "-o", out) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "square.json",
        "square_cutout.png",
        "square_mask.png",
        "square_overlay.png",
    ]
    expected = segment(square, points=[(40, 24), (5, 5)], labels=[1, 0], model=weights)
    np.testing.assert_array_equal(load_mask(out / "square_mask.png"), expected.masks[0])
    np.testing.assert_array_equal(load_photo(out / "square_overlay.png"), expected.overlay())
    assert json.loads((out / "square.json").read_text()) == expected.to_coco()
    printed = capsys.readouterr().out
    for name in ("square_overlay.png", "square_mask.png", "square_cutout.png", "square.json"):
        assert f"wrote {out / name}" in printed


def test_masks_can_be_left_untidied(square: Path, weights: Path, tmp_path: Path) -> None:
    call = ("segment", square, "--point", "40,24", "-m", weights, "--mask")
    for name, share in (("raw", "0"), ("tidy", "0.05")):
        assert run(*call, "-o", tmp_path / name, "--min-area", share) == 0
        expected = segment(square, points=[(40, 24)], model=weights, min_area=float(share))
        np.testing.assert_array_equal(load_mask(tmp_path / name / "square_mask.png"), expected.masks[0])


def test_boxes_are_objects_and_flags_choose(square: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    boxes = ["--box", "24,12,56,36", "--box", "0,0,20,20"]
    assert run("segment", square, *boxes, "-m", weights, "-o", out, "--mask", "--json") == 0
    assert sorted(path.name for path in out.iterdir()) == ["square.json", "square_mask_1.png", "square_mask_2.png"]


def test_out_may_be_a_picture(square: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ("segment", square, "--point", "40,24", "-m", weights, "-o", tmp_path / "shown.jpg")
    assert run(*call) == 0
    assert load_photo(tmp_path / "shown.jpg").shape == (48, 80, 3)
    assert run(*call, "--json") == 2
    assert "give a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["square.png"], 2, "at least one --point X,Y or --box"),
        (["square.png", "--point", "here"], 2, "--point must be X,Y"),
        (["square.png", "--box", "1,2,3"], 2, "--box must be X0,Y0,X1,Y1"),
        (["square.png", "--point", "1,2", "--model", "tinny"], 2, "did you mean 'tiny'"),
        (["square.png", "--point", "1,2", "--min-area", "2"], 2, "--min-area must be a share"),
        (["nowhere.png", "--point", "1,2"], 1, "nowhere.png does not exist"),
    ],
)
def test_mistakes(
    square: Path,
    arguments: list[str],
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(square.parent)
    assert run("segment", *arguments) == code
    assert message in capsys.readouterr().err
    assert not (square.parent / "samphony-out").exists()


@pytest.mark.parametrize(
    ("text", "click"),
    [
        ("3,4", (3, 4, 1)),
        ("-3,4", (3, 4, 0)),
        ("+3.5,4.25", (3.5, 4.25, 1)),
        ("-0,0", (0, 0, 0)),
        (" 3, 4", (3, 4, 1)),
    ],
)
def test_clicks(text: str, click: tuple[float, float, int]) -> None:
    assert parse_click(text) == click


@pytest.mark.parametrize("text", ["", "3", "3,-4", "3,4,5", "a,b", "3;4", "nan,1", "1e400,2"])
def test_not_clicks(text: str) -> None:
    with pytest.raises(PromptError, match="--point"):
        parse_click(text)


def test_boxes() -> None:
    assert parse_box("-1,2, 3.5,4") == (-1, 2, 3.5, 4)
    with pytest.raises(PromptError, match="--box"):
        parse_box("1,2,3,x")


@pytest.mark.parametrize(
    ("flags", "kinds"),
    [
        ({"a": None, "b": None}, ["a", "b"]),
        ({"a": True, "b": None}, ["a"]),
        ({"a": False, "b": None}, ["b"]),
        ({"a": False, "b": False}, []),
    ],
)
def test_flags(flags: dict[str, bool | None], kinds: list[str]) -> None:
    assert chosen_kinds(flags) == kinds
