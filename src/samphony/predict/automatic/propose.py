"""One encoded picture to its proposals: clicks, IoU, stability, cut edges, duplicates, in the official order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from samphony.predict.automatic.crops import Crop, cut_off
from samphony.predict.automatic.decode import Candidates, ClickDecoder
from samphony.predict.automatic.enlarge import Enlargement
from samphony.predict.automatic.grids import PointGrid
from samphony.predict.automatic.nms import non_maximum_suppression
from samphony.predict.automatic.proposals import LogitPatch, Proposals
from samphony.predict.automatic.report import Tally
from samphony.predict.image import SAM2ImagePredictor


@dataclass(frozen=True)
class Filters:
    """What a candidate must pass; the generator's constructor explains each."""

    points_per_batch: int
    pred_iou_thresh: float
    stability_score_thresh: float
    stability_score_offset: float
    mask_threshold: float
    box_nms_thresh: float
    use_m2m: bool
    multimask_output: bool

    @property
    def levels(self) -> tuple[float, float, float]:
        """The thresholds at which a mask's pixels are counted: strict, its own, lenient."""
        return (
            self.mask_threshold + self.stability_score_offset,
            self.mask_threshold,
            self.mask_threshold - self.stability_score_offset,
        )


@dataclass(frozen=True)
class CropView:
    """A crop that the predictor has encoded as its picture ``img_idx``; ``number`` is its place among all crops."""

    crop: Crop
    number: int
    img_idx: int
    picture_hw: tuple[int, int]


def propose(
    predictor: SAM2ImagePredictor, view: CropView, grid: PointGrid, filters: Filters, tally: Tally
) -> Proposals:
    """Click on every point of a grid and filter what comes.

    Args:
        predictor: has encoded the crop.
        view: which crop.
        grid: (P,2) in 0…1 of the crop.
        filters: thresholds.
        tally: counts what is dropped.

    Returns:
        proposals in pixels of the picture, by descending predicted IoU.
    """
    decoder = ClickDecoder(predictor, view.img_idx, filters.multimask_output, filters.pred_iou_thresh)
    height, width = view.crop.hw
    points = torch.as_tensor(grid * np.array([[width, height]]), dtype=torch.float32, device=predictor.device)
    found = []
    enlargement: Enlargement | None = None
    for batch in points.split(filters.points_per_batch):
        at = predictor._transforms.transform_coords(batch, normalize=True, orig_hw=view.crop.hw)
        for candidates in _candidates(decoder, at, filters.use_m2m):
            tally.judge_ious(candidates.judged.cpu().numpy(), len(candidates.judged) - len(candidates.ious))
            if len(candidates.ious) == 0:
                continue
            low_res = candidates.low_res
            if enlargement is None:
                enlargement = Enlargement((low_res.shape[1], low_res.shape[2]), view.crop.hw, low_res.device)
            found.append(_filter(candidates, batch, enlargement, view, filters, tally))
    proposals = Proposals.concatenate(found)
    kept = non_maximum_suppression(proposals.boxes, proposals.ious, filters.box_nms_thresh)
    tally.duplicate += len(proposals) - len(kept)
    return proposals.select(kept)


def _candidates(decoder: ClickDecoder, points: Tensor, use_m2m: bool) -> Iterator[Candidates]:
    if not use_m2m:
        yield from decoder.decode(points)
        return
    for candidates in decoder.unfiltered().decode(points):
        yield from decoder.refine(points[candidates.click], candidates)


def _filter(
    candidates: Candidates,
    points: Tensor,
    enlargement: Enlargement,
    view: CropView,
    filters: Filters,
    tally: Tally,
) -> Proposals:
    """Stability and cut edges; the counts and boxes are those of the masks at full size."""
    measures = enlargement.measure(candidates.low_res, filters.levels, filters.mask_threshold)
    inner, outer = (measures.counts[:, i].cpu().numpy().astype(np.float32) for i in (0, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        stability = inner / outer  # NaN for an empty mask, which passes no threshold
    keep: npt.NDArray[np.bool_] = np.ones(len(stability), bool)
    if filters.stability_score_thresh > 0:
        keep = stability >= np.float32(filters.stability_score_thresh)
    tally.judge_stability(stability, int((~keep).sum()))

    offset = np.array(view.crop.box[:2])
    boxes = measures.boxes.cpu().numpy() + np.tile(offset, 2)
    cut = keep & cut_off(boxes, view.crop, view.picture_hw)
    tally.crop_edge += int(cut.sum())
    rows = np.flatnonzero(keep & ~cut)
    index = torch.from_numpy(rows).to(points.device)
    low_res = candidates.low_res[index].cpu().numpy()
    clicks = points[candidates.click[index]].cpu().numpy()
    return Proposals(
        boxes=boxes[rows],
        ious=candidates.ious[index].cpu().numpy(),
        stability=stability[rows],
        points=clicks + offset.astype(np.float32),
        patches=tuple(LogitPatch.cut(logits, filters.mask_threshold) for logits in low_res),
        crops=np.full(len(rows), view.number, np.int64),
    )
