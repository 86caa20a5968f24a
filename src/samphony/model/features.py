"""What the image encoder gives: a pyramid of features with their position codes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

_FIELDS = {"backbone_fpn": "levels", "vision_pos_enc": "positions"}


@dataclass
class ImageFeatures(MutableMapping[str, Any]):
    """Features at strides 4, 8 and 16, fine to coarse.

    levels: from the image encoder (B,C,4h,4w), (B,C,8…), (B,C,h,w); after ``SAM2Base.forward_image`` the first two
        are reduced to C/8 and C/4 channels for the mask decoder.
    positions: the sine code of each level, (B or 1, C, …).

    It also reads and writes as the official mapping: ``backbone_fpn`` is ``levels``, ``vision_pos_enc`` is
    ``positions``, ``vision_features`` is the coarsest level.
    """

    levels: list[Tensor]
    positions: list[Tensor]

    @property
    def embedding(self) -> Tensor:
        """The stride-16 level, (B,C,h,w)."""
        return self.levels[-1]

    @property
    def high_res(self) -> list[Tensor]:
        """The finer levels that the mask decoder adds while upscaling."""
        return self.levels[:-1]

    def select(self, index: int) -> ImageFeatures:
        """The features of one image of the batch, batch dimension kept."""
        return ImageFeatures(
            [x[index : index + 1] for x in self.levels],
            [x[index : index + 1] if x.shape[0] > 1 else x for x in self.positions],
        )

    def copy(self) -> ImageFeatures:
        """A copy with lists of its own over the same tensors."""
        return ImageFeatures(list(self.levels), list(self.positions))

    def __getitem__(self, key: str) -> Any:
        if key == "vision_features":
            return self.levels[-1]
        if key in _FIELDS:
            return getattr(self, _FIELDS[key])
        raise KeyError(key)

    def __setitem__(self, key: str, value: Any) -> None:
        if key == "vision_features":
            self.levels[-1] = value
        elif key in _FIELDS:
            setattr(self, _FIELDS[key], value)
        else:
            raise KeyError(f"{key!r} is not a field of ImageFeatures")

    def __delitem__(self, key: str) -> None:
        raise TypeError("fields of ImageFeatures can be replaced, not removed")

    def __iter__(self) -> Iterator[str]:
        return iter(("vision_features", *_FIELDS))

    def __len__(self) -> int:
        return 1 + len(_FIELDS)


def as_features(backbone_out: Mapping[str, Any]) -> ImageFeatures:
    """Features from the official mapping of ``backbone_fpn`` and ``vision_pos_enc``, fine to coarse."""
    if isinstance(backbone_out, ImageFeatures):
        return backbone_out
    return ImageFeatures(list(backbone_out["backbone_fpn"]), list(backbone_out["vision_pos_enc"]))
