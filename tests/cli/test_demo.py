from __future__ import annotations

from pathlib import Path

import pytest

from samphony.cli.main import main
from samphony.model.base import SAM2Base
from samphony.model.config import SAM2Config
from samphony.weights.save import save_weights


@pytest.fixture
def weights(tmp_path: Path, tiny_model: SAM2Base, tiny_config: SAM2Config) -> Path:
    return save_weights(tmp_path / "mine.safetensors", tiny_model, tiny_config)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


def test_photo_part(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run("demo", "--no-video", "-m", weights, "-o", out) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "cat.json",
        "cat_cutout.png",
        "cat_mask.png",
        "cat_overlay.png",
    ]
    assert f"Look at:\n  {out / 'cat_overlay.png'}\n" in capsys.readouterr().out


@pytest.mark.slow
def test_whole_demo_twice(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        assert run("demo", "-m", weights, "-o", out) == 0
        shown = capsys.readouterr().out.partition("Look at:\n")[2].split()
        assert [Path(line).name for line in shown] == ["cat_overlay.png", "overlay.mp4", "contact-sheet.png"]
        assert all(Path(line).stat().st_size > 10_000 for line in shown)
