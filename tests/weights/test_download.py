from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import huggingface_hub
import huggingface_hub.constants
import pytest

from samphony.errors import CheckpointError, ConfigError
from samphony.weights import cache, download
from samphony.weights.cache import cache_folder, local_weights
from samphony.weights.download import download_weights, find_weights
from samphony.weights.registry import WEIGHTS

if TYPE_CHECKING:
    from tests.weights.conftest import Server

CONTENT = b"weights " * 1000
NOWHERE = "http://127.0.0.1:9/w.pt"


@pytest.fixture(autouse=True)
def own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPHONY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def publish(monkeypatch: pytest.MonkeyPatch, url: str, content: bytes = CONTENT) -> None:
    """Let the tiny model's weights be ``content`` at ``url``."""
    sha256 = hashlib.sha256(content).hexdigest()
    monkeypatch.setitem(WEIGHTS, "tiny", replace(WEIGHTS["tiny"], url=url, sha256=sha256, size=len(content)))


def test_downloads_once_and_finds_it_then(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.content = CONTENT
    publish(monkeypatch, server.url)
    assert local_weights("tiny") is None
    path = find_weights("facebook/sam2.1-hiera-tiny")
    assert path == cache_folder() / "sam2.1_hiera_tiny.pt"
    assert path.read_bytes() == CONTENT
    assert find_weights("sam2.1_hiera_t") == local_weights("tiny") == path
    assert len(server.requests) == 1


def test_a_file_put_there_by_hand_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, NOWHERE)
    cache_folder().mkdir(parents=True)
    path = cache_folder() / "sam2.1_hiera_tiny.pt"
    path.write_bytes(CONTENT[:10])
    assert local_weights("tiny") is None, "cut short"
    path.write_bytes(CONTENT)
    assert find_weights("tiny") == path


def test_the_hubs_cache_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, NOWHERE)
    repo = tmp_path / "hub" / "models--facebook--sam2.1-hiera-tiny"
    snapshot = repo / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    (snapshot / "sam2.1_hiera_tiny.pt").write_bytes(CONTENT)
    assert find_weights("tiny") == snapshot / "sam2.1_hiera_tiny.pt"


def test_offline_says_what_to_fetch_and_where_to_put_it(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, NOWHERE)
    monkeypatch.setattr("samphony.weights.transfer.time.sleep", lambda seconds: None)
    with pytest.raises(CheckpointError) as caught:
        find_weights("tiny")
    message = str(caught.value)
    for part in (NOWHERE, "facebook/sam2.1-hiera-tiny", str(cache_folder() / "sam2.1_hiera_tiny.pt"), "put it at"):
        assert part in message


def test_the_hub_stands_in_for_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, NOWHERE)
    monkeypatch.setattr("samphony.weights.transfer.time.sleep", lambda seconds: None)
    asked: list[tuple[str, str]] = []

    def from_hub(repo: str, file: str) -> str:
        asked.append((repo, file))
        (tmp_path / file).write_bytes(CONTENT)
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", from_hub)
    assert find_weights("tiny").read_bytes() == CONTENT
    assert find_weights("tiny", source="hub").read_bytes() == CONTENT
    assert set(asked) == {("facebook/sam2.1-hiera-tiny", "sam2.1_hiera_tiny.pt")}


def test_wrong_content_is_an_error_wherever_it_comes_from(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.content = CONTENT[::-1]
    publish(monkeypatch, server.url)
    with pytest.raises(CheckpointError, match="wrong checksum"):
        find_weights("tiny")
    assert local_weights("tiny") is None
    (tmp_path / "w.pt").write_bytes(b"other")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, file: str(tmp_path / "w.pt"))
    with pytest.raises(CheckpointError, match=r"w\.pt: wrong checksum"):
        find_weights("tiny", source="hub")


def test_download_fetches_anew(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.content = CONTENT
    publish(monkeypatch, server.url)
    download_weights("tiny")
    download_weights("tiny")
    assert len(server.requests) == 2


def test_progress_bar(server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    server.content = CONTENT
    publish(monkeypatch, server.url)
    download_weights("tiny", progress=True)
    captured = capsys.readouterr()
    assert "sam2.1_hiera_tiny.pt" in captured.err
    assert captured.out == ""


def test_models_that_cannot_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError):
        find_weights("tinny")
    with pytest.raises(CheckpointError, match="ships inside the package"):
        download_weights("nano")
    monkeypatch.setattr(cache, "NANO_FILE", tmp_path / "nano.safetensors")
    monkeypatch.setattr(download, "NANO_FILE", tmp_path / "nano.safetensors")
    with pytest.raises(CheckpointError, match=r"nano\.safetensors"):
        find_weights("nano")
    (tmp_path / "nano.safetensors").touch()
    assert find_weights("nano") == tmp_path / "nano.safetensors"


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {"SAMPHONY_CACHE": "/chosen"}, "/chosen"),
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/samphony"),
        ("linux", {}, "/home/me/.cache/samphony"),
        ("darwin", {}, "/home/me/Library/Caches/samphony"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/samphony/cache"),
    ],
)
def test_cache_folder(monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], folder: str) -> None:
    for name in ("SAMPHONY_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("samphony.weights.cache.sys.platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    assert cache_folder() == Path(folder)
