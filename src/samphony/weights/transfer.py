"""One file over HTTP: resumed where it was cut, verified, put in place whole or not at all.

What has arrived lies beside the target as ``NAME.part``. A later call asks the server for the rest (``Range``) and
starts anew where the server cannot do that. The target appears only after length and SHA-256 are right.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from samphony.errors import CheckpointError

Progress = Callable[[int, "int | None"], None]
"""Called with bytes so far and bytes in all, if known."""

_CHUNK = 1 << 18
_TIMEOUT = 30.0
_AGENT = "samphony"


class NetworkError(CheckpointError):
    """The server cannot be reached or keeps cutting the connection; what arrived is kept."""


def download_file(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    progress: Progress = lambda done, total: None,
    attempts: int = 4,
    pause: float = 0.5,
) -> Path:
    """Fetch ``url`` to ``path``.

    Args:
        url: http, https or file.
        path: target; the folder is made.
        sha256: expected digest in hexadecimal; a file with another one is thrown away.
        size: expected bytes, for the check of free space and of the length.
        progress: called after every chunk.
        attempts: connections in a row that bring nothing before giving up; a connection that is cut after it brought
            something does not count.
        pause: seconds before the second attempt, doubled each time.

    Raises:
        NetworkError: the server cannot be reached; the partial file stays.
        CheckpointError: no such file on the server, wrong content, no space, or an unwritable folder.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _one_process(path) as waited:
            if waited and path.exists():  # another process has just fetched it
                return path
            _check_space(path.parent, size, part)
            was_resumed = _length(part) > 0
            _fetch_all(url, part, progress, attempts, pause)
            problem = _what_is_wrong(part, sha256, size)
            if problem and was_resumed:  # the old part may have been of another file: once more from the start
                part.unlink()
                _fetch_all(url, part, progress, attempts, pause)
                problem = _what_is_wrong(part, sha256, size)
            if problem:
                part.unlink()
                raise CheckpointError(f"{url}: {problem}; thrown away, try again")
            part.replace(path)
    except CheckpointError:
        raise
    except OSError as error:  # a full disk, a read-only folder
        raise CheckpointError(f"cannot write {path}: {error}") from error
    return path


@contextmanager
def _one_process(path: Path) -> Iterator[bool]:
    """Hold a lock beside ``path``; True when another process held it first. No lock where the system has no flock."""
    try:
        import fcntl
    except ImportError:
        yield False
        return
    with path.with_name(path.name + ".lock").open("w") as lock:
        waited = False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield waited


def _fetch_all(url: str, part: Path, progress: Progress, attempts: int, pause: float) -> None:
    failures = 0
    while True:
        before = _length(part)
        try:
            if _fetch_rest(url, part, progress):
                return
            problem = "the connection was cut"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 429):
                raise CheckpointError(f"{url}: the server answered {error.code} {error.reason}") from error
            problem = f"the server answered {error.code} {error.reason}"
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            problem = str(getattr(error, "reason", error)) or type(error).__name__
        failures = 1 if _length(part) > before else failures + 1
        if failures >= attempts:
            kept = f"; {_length(part)} bytes are kept, and the next try goes on from there" if _length(part) else ""
            raise NetworkError(f"{url}: {problem}{kept}")
        time.sleep(pause * 2 ** (failures - 1))


def _fetch_rest(url: str, part: Path, progress: Progress) -> bool:
    """Ask for what is missing and append it; True when the file is complete."""
    have = _length(part)
    headers = {"User-Agent": _AGENT, **({"Range": f"bytes={have}-"} if have else {})}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416 or not have:  # 416: nothing is missing, or the part is of another file
            raise
        if have == _total(error.headers.get("Content-Range")):
            return True
        part.unlink()
        return _fetch_rest(url, part, progress)
    with answer:
        resumed = answer.status == 206 and _starts_at(answer.headers.get("Content-Range"), have)
        done = have if resumed else 0
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length else None
        progress(done, total)
        with part.open("ab" if resumed else "wb") as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                progress(done, total)
    return total is None or done >= total


def _starts_at(content_range: str | None, offset: int) -> bool:
    return (content_range or "").startswith(f"bytes {offset}-")


def _total(content_range: str | None) -> int | None:
    """Length of the whole file out of ``bytes */1234``."""
    total = (content_range or "").rpartition("/")[2]
    return int(total) if total.isdigit() else None


def _what_is_wrong(part: Path, sha256: str | None, size: int | None) -> str | None:
    length = _length(part)
    if size is not None and length != size:
        return f"{length} bytes arrived where {size} are published"
    found = file_sha256(part) if sha256 is not None else None
    return None if found == sha256 else f"wrong checksum, SHA-256 is {found} where {sha256} is published"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _check_space(folder: Path, size: int | None, part: Path) -> None:
    missing = (size or 0) - _length(part)
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise CheckpointError(f"{folder}: {missing / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free")


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
