"""Stand-ins: a generator that sees objects by their colour, and the official algorithm in its plain form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from samphony.media.masks import encode_rle, mask_boxes
from samphony.predict.automatic.crops import cut_off, make_crops
from samphony.predict.automatic.generator import SAM2AutomaticMaskGenerator
from samphony.predict.automatic.nms import non_maximum_suppression
from samphony.predict.automatic.records import MaskRecords
from samphony.predict.automatic.report import DropReport


class ColourGenerator:
    """Finds one object for each red value above 0, as a generator with perfect eyes would."""

    box_nms_thresh = 0.7

    def __init__(self) -> None:
        self.largest = 0

    def generate(self, image: Any) -> MaskRecords:
        self.largest = max(self.largest, image.nbytes)
        records = []
        for value in np.flatnonzero(np.bincount(image[..., 0].ravel(), minlength=256)):
            if value == 0:
                continue
            mask = image[..., 0] == value
            y, x = np.argwhere(mask)[0]
            x0, y0, x1, y1 = (float(v) for v in mask_boxes(mask))
            records.append(
                {
                    "segmentation": encode_rle(mask),
                    "area": int(mask.sum()),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "predicted_iou": 0.9,
                    "point_coords": [[float(x), float(y)]],
                    "stability_score": 1.0,
                    "crop_box": [0.0, 0.0, float(image.shape[1]), float(image.shape[0])],
                }
            )
        report = DropReport(proposed=len(records), kept=len(records))
        return MaskRecords(records, image.shape[:2], report)


def plain_generate(generator: SAM2AutomaticMaskGenerator, image: np.ndarray) -> list[dict[str, Any]]:
    """The official order of work with every candidate brought to full size: slow, and easy to check by eye."""
    g = generator
    crops = make_crops(image.shape[:2], g.crop_n_layers, g.crop_overlap_ratio)
    found = []
    for crop in crops:
        rows = list(_of_crop(g, image, crop))
        boxes = np.array([r["box"] for r in rows]).reshape(-1, 4)
        ious = np.array([r["iou"] for r in rows], np.float32)
        found += [rows[i] for i in non_maximum_suppression(boxes, ious, g.box_nms_thresh)]
    if len(crops) > 1:
        boxes = np.array([r["box"] for r in found]).reshape(-1, 4)
        scores = np.array([1 / r["crop"].area for r in found], np.float32)
        found = [found[i] for i in non_maximum_suppression(boxes, scores, g.crop_nms_thresh)]
    return found


def _of_crop(g: SAM2AutomaticMaskGenerator, image: np.ndarray, crop: Any) -> Iterator[dict[str, Any]]:
    height, width = crop.hw
    g.predictor.set_image(np.ascontiguousarray(crop.cut(image)))
    points = torch.as_tensor(g.point_grids[crop.layer] * [[width, height]], dtype=torch.float32)
    at = g.predictor._transforms.transform_coords(points, normalize=True, orig_hw=crop.hw)
    ones = torch.ones(1, 1, dtype=torch.int32)
    for point, where in zip(points, at, strict=True):
        _, ious, low = g.predictor._predict(where[None, None], ones, multimask_output=g.multimask_output)
        for iou, logits in zip(ious[0], low[0], strict=True):
            if g.use_m2m:
                _, again, refined = g.predictor._predict(
                    where[None, None], ones, mask_input=logits[None, None], multimask_output=False
                )
                iou, logits = again[0, 0], refined[0, 0]
            if g.pred_iou_thresh > 0 and not iou > g.pred_iou_thresh:
                continue
            large = F.interpolate(logits[None, None], (height, width), mode="bilinear", align_corners=False)[0, 0]
            inner = (large > g.mask_threshold + g.stability_score_offset).sum()
            outer = (large > g.mask_threshold - g.stability_score_offset).sum()
            if g.stability_score_thresh > 0 and not inner / outer >= g.stability_score_thresh:
                continue
            part = (large > g.mask_threshold).numpy()
            box = mask_boxes(part) + np.tile(crop.box[:2], 2)
            if cut_off(box[None], crop, image.shape[:2])[0]:
                continue
            mask = np.zeros(image.shape[:2], bool)
            crop.cut(mask)[...] = part
            yield {
                "mask": mask,
                "box": box,
                "iou": float(iou),
                "stability": float(inner / outer),
                "point": (point + torch.tensor(crop.box[:2])).tolist(),
                "crop": crop,
            }
