from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from samphony.errors import CheckpointError
from samphony.weights.transfer import NetworkError, download_file

if TYPE_CHECKING:
    from tests.weights.conftest import Server

DATA = os.urandom(700_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_whole_file(server: Server, tmp_path: Path) -> None:
    server.content = DATA
    seen: list[tuple[int, int | None]] = []
    path = download_file(
        server.url,
        tmp_path / "deep" / "w.pt",
        sha256=SHA256,
        size=len(DATA),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert path.read_bytes() == DATA
    assert names(path.parent) == ["w.pt"]
    assert seen[0] == (0, len(DATA))
    assert seen[-1] == (len(DATA), len(DATA))
    assert server.requests == [None]


def test_cut_connections_are_resumed(server: Server, tmp_path: Path) -> None:
    server.content = DATA
    server.cut_after = [100_000, 0, 300_000]
    path = download_file(server.url, tmp_path / "w.pt", sha256=SHA256, pause=0)
    assert path.read_bytes() == DATA
    assert server.requests == [None, "bytes=100000-", "bytes=100000-", "bytes=400000-"]


def test_a_later_call_goes_on(server: Server, tmp_path: Path) -> None:
    server.content = DATA
    server.cut_after = [100_000, 0, 0]
    with pytest.raises(NetworkError, match="100000 bytes are kept"):
        download_file(server.url, tmp_path / "w.pt", sha256=SHA256, attempts=2, pause=0)
    assert names(tmp_path) == ["w.pt.part"]
    server.requests.clear()
    server.cut_after.clear()
    assert download_file(server.url, tmp_path / "w.pt", sha256=SHA256).read_bytes() == DATA
    assert server.requests == ["bytes=100000-"]


def test_server_without_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    server.content = DATA
    server.ranges = False
    server.cut_after = [100_000]
    assert download_file(server.url, tmp_path / "w.pt", sha256=SHA256, pause=0).read_bytes() == DATA
    assert server.requests == [None, "bytes=100000-"]


def test_server_that_does_not_say_the_length(server: Server, tmp_path: Path) -> None:
    server.content = DATA
    server.send_length = False
    assert download_file(server.url, tmp_path / "w.pt", sha256=SHA256).read_bytes() == DATA


def test_complete_part_is_only_verified(server: Server, tmp_path: Path) -> None:
    server.content = DATA
    (tmp_path / "w.pt.part").write_bytes(DATA)
    assert download_file(server.url, tmp_path / "w.pt", sha256=SHA256).read_bytes() == DATA
    assert names(tmp_path) == ["w.pt"]


@pytest.mark.parametrize("part", [b"of another file", b"x" * (len(DATA) + 5)])
def test_part_of_another_file_is_replaced(server: Server, tmp_path: Path, part: bytes) -> None:
    server.content = DATA
    (tmp_path / "w.pt.part").write_bytes(part)
    assert download_file(server.url, tmp_path / "w.pt", sha256=SHA256).read_bytes() == DATA


def test_wrong_checksum(server: Server, tmp_path: Path) -> None:
    server.content = DATA
    (tmp_path / "w.pt").write_bytes(b"the old file")
    with pytest.raises(CheckpointError, match=r"wrong checksum.*thrown away"):
        download_file(server.url, tmp_path / "w.pt", sha256="0" * 64)
    assert names(tmp_path) == ["w.pt"]
    assert (tmp_path / "w.pt").read_bytes() == b"the old file"


def test_wrong_length(server: Server, tmp_path: Path) -> None:
    server.content = DATA
    with pytest.raises(CheckpointError, match="700000 bytes arrived where 5 are published"):
        download_file(server.url, tmp_path / "w.pt", size=5)
    assert names(tmp_path) == []


def test_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.content = DATA
    server.statuses = [503, 429]
    assert download_file(server.url, tmp_path / "w.pt", sha256=SHA256, pause=0).read_bytes() == DATA


def test_missing_on_the_server(server: Server, tmp_path: Path) -> None:
    server.statuses = [404]
    with pytest.raises(CheckpointError, match="answered 404") as caught:
        download_file(server.url, tmp_path / "w.pt")
    assert not isinstance(caught.value, NetworkError)
    assert server.requests == [None]


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="refused"):
        download_file("http://127.0.0.1:9/w.pt", tmp_path / "w.pt", attempts=2, pause=0)


def test_too_little_space_is_said_before(server: Server, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="MB are free"):
        download_file(server.url, tmp_path / "w.pt", size=10**18)
    assert server.requests == []


def test_unwritable_folder(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot write"):
        download_file(server.url, tmp_path / "file" / "w.pt")


def test_two_at_once_fetch_once(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl", reason="no file locks on this system")
    server.content = DATA
    paths: list[Path] = []
    waiting = threading.Event()
    lock = fcntl.flock

    def told_when_it_blocks(file: object, flags: int) -> None:
        if flags == fcntl.LOCK_EX:
            waiting.set()
        lock(file, flags)

    monkeypatch.setattr(fcntl, "flock", told_when_it_blocks)
    second = threading.Thread(target=lambda: paths.append(download_file(server.url, tmp_path / "w.pt", sha256=SHA256)))

    def until_the_second_waits(done: int, total: int | None) -> None:
        if not waiting.is_set():
            second.start()
            assert waiting.wait(60)

    download_file(server.url, tmp_path / "w.pt", sha256=SHA256, progress=until_the_second_waits)
    second.join()
    assert paths[0].read_bytes() == DATA
    assert server.requests == [None]
