"""What became of the candidates: the numbers to tune thresholds by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class DropReport:
    """Candidates by the step that dropped them; the numbers add up to ``proposed``.

    proposed: masks the network gave. iou: predicted IoU too low. stability: outline moves too much with the threshold.
    crop_edge: cut off by the edge of a crop. duplicate: a better mask of the same crop has nearly the same box.
    duplicate_of_crop: a mask of a smaller crop has. area: nothing was left after small regions were removed.
    joined: the continuation of a mask of another tile. kept: masks returned.
    iou_quantiles, stability_quantiles: of all that were judged, at ``QUANTILES``; empty when there were none.
    """

    proposed: int = 0
    iou: int = 0
    stability: int = 0
    crop_edge: int = 0
    duplicate: int = 0
    duplicate_of_crop: int = 0
    area: int = 0
    joined: int = 0
    kept: int = 0
    iou_quantiles: tuple[float, ...] = ()
    stability_quantiles: tuple[float, ...] = ()

    def __str__(self) -> str:
        """A table, a line a step."""
        rows = [
            ("proposed", self.proposed, _spread("predicted IoU", self.iou_quantiles)),
            ("− pred_iou_thresh", self.iou, ""),
            ("− stability_score_thresh", self.stability, _spread("stability", self.stability_quantiles)),
            ("− cut off by a crop", self.crop_edge, ""),
            ("− box_nms_thresh", self.duplicate, ""),
            ("− crop_nms_thresh", self.duplicate_of_crop, ""),
            ("− min_mask_region_area", self.area, ""),
            ("− joined across tiles", self.joined, ""),
            ("kept", self.kept, ""),
        ]
        return "\n".join(f"{name:<26}{count:>7}  {note}".rstrip() for name, count, note in rows)


@dataclass
class Tally:
    """Counts while a picture is worked on."""

    iou: int = 0
    stability: int = 0
    crop_edge: int = 0
    duplicate: int = 0
    duplicate_of_crop: int = 0
    area: int = 0
    kept: int = 0
    _ious: list[npt.NDArray[np.float32]] = field(default_factory=list)
    _stabilities: list[npt.NDArray[np.float32]] = field(default_factory=list)

    def judge_ious(self, ious: npt.NDArray[np.float32], dropped: int) -> None:
        """Predicted IoUs of all candidates of a group, and how many were too low."""
        self._ious.append(ious)
        self.iou += dropped

    def judge_stability(self, scores: npt.NDArray[np.float32], dropped: int) -> None:
        """Stability scores of a group; NaN (an empty mask) counts as 0."""
        self._stabilities.append(np.nan_to_num(scores))
        self.stability += dropped

    def report(self) -> DropReport:
        """The frozen result."""
        return DropReport(
            proposed=sum(len(a) for a in self._ious),
            iou=self.iou,
            stability=self.stability,
            crop_edge=self.crop_edge,
            duplicate=self.duplicate,
            duplicate_of_crop=self.duplicate_of_crop,
            area=self.area,
            kept=self.kept,
            iou_quantiles=_quantiles(self._ious),
            stability_quantiles=_quantiles(self._stabilities),
        )


def merge_reports(tiles: Sequence[DropReport], fragments: int, objects: int, kept: int) -> DropReport:
    """The report of a picture done by tiles; quantiles are the tiles' means.

    Args:
        tiles: their reports.
        fragments: masks of all tiles that have pixels.
        objects: what they were joined to.
        kept: objects that were no duplicates.
    """
    judged = [r for r in tiles if r.iou_quantiles]
    stable = [r for r in tiles if r.stability_quantiles]
    return DropReport(
        proposed=sum(r.proposed for r in tiles),
        iou=sum(r.iou for r in tiles),
        stability=sum(r.stability for r in tiles),
        crop_edge=sum(r.crop_edge for r in tiles),
        duplicate=sum(r.duplicate for r in tiles) + objects - kept,
        duplicate_of_crop=sum(r.duplicate_of_crop for r in tiles),
        area=sum(r.area + r.kept for r in tiles) - fragments,
        joined=fragments - objects,
        kept=kept,
        iou_quantiles=_means([r.iou_quantiles for r in judged]),
        stability_quantiles=_means([r.stability_quantiles for r in stable]),
    )


def _means(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(float(v) for v in np.mean(rows, axis=0)) if rows else ()


def _quantiles(parts: list[npt.NDArray[np.float32]]) -> tuple[float, ...]:
    values = np.concatenate(parts) if parts else np.empty(0, np.float32)
    return tuple(float(v) for v in np.quantile(values, QUANTILES)) if len(values) else ()


def _spread(name: str, quantiles: tuple[float, ...]) -> str:
    if not quantiles:
        return ""
    return f"{name} " + " · ".join(f"{q:.0%} below {v:.2f}" for q, v in zip(QUANTILES, quantiles, strict=True))
