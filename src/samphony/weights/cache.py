"""Where weights lie on this machine, and which of them are there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from samphony.weights.registry import NANO_FILE, WEIGHTS


def cache_folder() -> Path:
    """The folder of downloaded weights.

    ``SAMPHONY_CACHE`` when it is set; otherwise ``~/.cache/samphony`` on Linux (under ``XDG_CACHE_HOME`` when
    that is set), ``~/Library/Caches/samphony`` on macOS, ``%LOCALAPPDATA%\\samphony\\cache`` on Windows.
    """
    chosen = os.environ.get("SAMPHONY_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "samphony" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "samphony"
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "samphony"


def local_weights(model: str) -> Path | None:
    """The weights of a model that are on this machine already, or None.

    Looked for are the file inside the package (nano), our cache folder, and the cache of the Hugging Face hub,
    where other SAM 2 software leaves the same files. A file in our cache folder that has not the published size
    does not count: it was put there incompletely.

    Args:
        model: short name, a key of ``MODELS``.
    """
    weights = WEIGHTS.get(model)
    if weights is None:
        return NANO_FILE if NANO_FILE.is_file() else None
    path = cache_folder() / weights.file
    if path.is_file() and weights.size in (None, path.stat().st_size):
        return path
    return _in_hub_cache(weights.hub_repo, weights.file)


def _in_hub_cache(repo: str, file: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, file)
    return Path(found) if isinstance(found, str) else None
