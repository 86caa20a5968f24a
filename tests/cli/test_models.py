from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import pytest

from samphony.cli.main import main
from samphony.model.config import MODELS
from samphony.weights.registry import WEIGHTS


@pytest.fixture(autouse=True)
def own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPHONY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert isinstance(left.value.code, int)
    return left.value.code


def test_models_and_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = b"weights"
    (tmp_path / "published.pt").write_bytes(content)
    published = replace(
        WEIGHTS["tiny"],
        url=(tmp_path / "published.pt").as_uri(),
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
    )
    monkeypatch.setitem(WEIGHTS, "tiny", published)

    assert run("models") == 0
    listed = capsys.readouterr().out
    for name in MODELS:
        assert f"\n{name} " in listed
    cached = tmp_path / "cache" / "sam2.1_hiera_tiny.pt"
    assert str(cached) not in listed

    assert run("download", "facebook/sam2.1-hiera-tiny") == 0
    assert f"tiny fetched: {cached}" in capsys.readouterr().out
    assert cached.read_bytes() == content
    assert run("download", "tiny") == 0
    assert "tiny is here" in capsys.readouterr().out
    assert run("download", "tiny", "--force", "--source", "url") == 0
    assert "tiny fetched" in capsys.readouterr().out

    assert run("models") == 0
    assert str(cached) in capsys.readouterr().out.replace("\n", "").replace(" ", "")


@pytest.mark.parametrize(("arguments", "message"), [(("nope",), "there is no model"), ((), "see samphony download")])
def test_download_mistakes(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("download", *arguments) == 2
    assert message in capsys.readouterr().err
