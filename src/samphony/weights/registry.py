"""Which weights belong to which model, and by which names people call them.

Nothing here imports torch or touches the network.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from samphony.errors import ConfigError
from samphony.model.config import MODELS, SAM2Config

_OFFICIAL = "https://dl.fbaipublicfiles.com/segment_anything_2"

NANO_FILE = Path(__file__).parent / "nano.safetensors"
"""The nano's weights: they ship inside the package."""


@dataclass(frozen=True)
class WeightsFile:
    """The published weights of one released model."""

    model: str
    """Short name, a key of ``MODELS``."""
    official_name: str
    """Official configuration name, such as ``sam2.1_hiera_t``."""
    file: str
    """Name of the published file, which is also its name in the cache folder."""
    url: str
    hub_repo: str
    """Repository on the Hugging Face hub that holds ``file``."""
    parameters: int
    sha256: str | None = None
    """Known for the 2.1 models only."""
    size: int | None = None
    """Bytes, where published."""

    @property
    def approximate_size(self) -> int:
        """Bytes; four a parameter where the exact size is not published."""
        return self.size or 4 * self.parameters


_SHA256 = {
    "tiny": "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
    "small": "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
    "base_plus": "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
    "large": "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
}


def _released(version: str, size: str, letter: str, parameters: int) -> WeightsFile:
    family, folder = ("sam2.1", "092824") if version == "2.1" else ("sam2", "072824")
    model = size if version == "2.1" else f"2.0-{size}"
    file = f"{family}_hiera_{size}.pt"
    return WeightsFile(
        model=model,
        official_name=f"{family}_hiera_{letter}",
        file=file,
        url=f"{_OFFICIAL}/{folder}/{file}",
        hub_repo=f"facebook/{family}-hiera-{size.replace('_', '-')}",
        parameters=parameters,
        sha256=_SHA256.get(model),
        size=156_008_466 if model == "tiny" else None,
    )


WEIGHTS: dict[str, WeightsFile] = {
    weights.model: weights
    for weights in (
        _released("2.1", "tiny", "t", 38_962_498),
        _released("2.1", "small", "s", 46_060_354),
        _released("2.1", "base_plus", "b+", 80_850_178),
        _released("2.1", "large", "l", 224_446_642),
        _released("2.0", "tiny", "t", 38_945_986),
        _released("2.0", "small", "s", 46_043_842),
        _released("2.0", "base_plus", "b+", 80_833_666),
        _released("2.0", "large", "l", 224_430_130),
    )
}
"""The eight released models by short name."""

_SIZES = {
    "t": "tiny",
    "tiny": "tiny",
    "s": "small",
    "small": "small",
    "b+": "base_plus",
    "base+": "base_plus",
    "base_plus": "base_plus",
    "l": "large",
    "large": "large",
}
_NAME = re.compile(r"(?:(?P<family>sam2(?:\.[01])?|2\.[01])_)?(?:hiera_)?(?P<size>[a-z_]+\+?)")


def canonical_name(name: str) -> str:
    """The short name (a key of ``MODELS``) of a model called by any of its names.

    Known are short names (``tiny``, ``2.0-tiny``, ``nano``), official configuration names with or without
    folder and ``.yaml`` (``configs/sam2.1/sam2.1_hiera_t.yaml``), hub repositories
    (``facebook/sam2.1-hiera-tiny``) and the names of the published files. A size alone means 2.1.

    Raises:
        ConfigError: no such model; the message names the closest ones.
    """
    if not isinstance(name, str):
        raise ConfigError(f"model must be a name such as 'tiny', got {type(name).__name__}")
    stem = re.split(r"[/\\]", name.strip())[-1].lower()
    stem = re.sub(r"\.(ya?ml|pt|safetensors)$", "", stem).replace("-", "_")
    if stem in MODELS:
        return stem
    match = _NAME.fullmatch(stem)
    if match and match["size"] in _SIZES:
        size = _SIZES[match["size"]]
        return f"2.0-{size}" if match["family"] in ("sam2", "sam2.0", "2.0") else size
    known = [*MODELS, *(w.official_name for w in WEIGHTS.values()), *(w.hub_repo for w in WEIGHTS.values())]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    raise ConfigError(f"there is no model {name!r}; {hint}Models: {', '.join(MODELS)}")


def resolve_name(name: str) -> SAM2Config:
    """The configuration of a model called by any of its names (see ``canonical_name``).

    Raises:
        ConfigError: no such model.
    """
    return MODELS[canonical_name(name)]
