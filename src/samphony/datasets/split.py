"""The fixed validation split: pictures and whole clips that are never trained on.

``validation.txt`` lists them, one archive a line (``source: stem stem …``; a clip's line has no stems). It was drawn
once by `draw`: 5 % of the photos by a hash of the name, and the clips named there. Pictures that are nearly the
same (by a small grey copy) follow the same draw.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Split:
    """Names of the validation photos (``source/stem``) and clips."""

    photos: frozenset[str]
    clips: frozenset[str]

    def holds(self, name: str, clip: str | None) -> bool:
        """Whether a picture belongs to the validation split."""
        return clip in self.clips if clip is not None else name in self.photos


def read_split(text: str | None = None) -> Split:
    """The split listed in the package, or in ``text`` of the same form."""
    if text is None:
        text = files("samphony.datasets").joinpath("validation.txt").read_text(encoding="utf-8")
    photos: set[str] = set()
    clips: set[str] = set()
    for line in text.splitlines():
        source, _, stems = line.partition(":")
        if not source or source.startswith("#"):
            continue
        if stems.strip():
            photos.update(f"{source}/{stem}" for stem in stems.split())
        else:
            clips.add(source)
    return Split(frozenset(photos), frozenset(clips))


def draw(names: Iterable[str], aliases: dict[str, str], share: float = 0.05) -> list[str]:
    """The names whose hash falls into ``share``; ``aliases`` maps a name to that of the same picture elsewhere."""
    return [name for name in names if _unit_hash(aliases.get(name, name)) < share]


def _unit_hash(name: str) -> float:
    return int.from_bytes(hashlib.sha1(name.encode()).digest()[:8], "big") / 2**64
