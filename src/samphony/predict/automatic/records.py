"""The result of "segment everything": the official list of dicts, which also knows other forms of itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from samphony.media.masks import BoolArray, Rle, decode_rle, encode_rle, encode_rle_uncompressed
from samphony.predict.automatic.report import DropReport

OutputMode = Literal["binary_mask", "uncompressed_rle", "coco_rle"]
OUTPUT_MODES = ("binary_mask", "uncompressed_rle", "coco_rle")

Record = dict[str, Any]
"""``segmentation`` (bool (H,W) or a run-length code), ``area`` in pixels, ``bbox`` as x, y, width, height (width is
last minus first column, as officially), ``predicted_iou``, ``point_coords`` [[x, y]], ``stability_score``,
``crop_box`` as x, y, width, height."""


class MaskRecords(list[Record]):
    """What ``generate`` returns: records in official order.

    hw: height and width of the picture. report: why candidates were dropped.
    """

    def __init__(self, records: Iterable[Record], hw: tuple[int, int], report: DropReport) -> None:
        super().__init__(records)
        self.hw = hw
        self.report = report

    def masks(self) -> BoolArray:
        """All masks, (N,H,W) bool, whatever the output mode."""
        masks = np.zeros((len(self), *self.hw), bool)
        for out, record in zip(masks, self, strict=True):
            out[:] = record_mask(record)
        return masks

    def to_detections(self, with_masks: bool = True) -> dict[str, Any]:
        """As columns, the arguments of supervision's ``Detections``: ``sv.Detections(**records.to_detections())``.

        Args:
            with_masks: boolean masks take H·W bytes each; without them ``mask`` is None.

        Returns:
            xyxy (N,4) float32, first and last pixel; mask (N,H,W) bool; confidence (N) float32, the predicted IoU;
            class_id (N), all 0; tracker_id (N), 1…N as in ``label_map``; data: stability_score, area, point_coords.
        """
        boxes = np.array([r["bbox"] for r in self], np.float32).reshape(-1, 4)
        return {
            "xyxy": np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), axis=1),
            "mask": self.masks() if with_masks else None,
            "confidence": np.array([r["predicted_iou"] for r in self], np.float32),
            "class_id": np.zeros(len(self), np.int64),
            "tracker_id": np.arange(1, len(self) + 1),
            "data": {
                "stability_score": np.array([r["stability_score"] for r in self], np.float32),
                "area": np.array([r["area"] for r in self], np.int64),
                "point_coords": np.array([r["point_coords"][0] for r in self], np.float32).reshape(-1, 2),
            },
        }

    def to_coco(self, image_id: int = 1, category_id: int = 1, first_id: int = 1) -> list[dict[str, Any]]:
        """COCO annotations with compressed run-length codes; width and height of ``bbox`` count both end pixels."""
        annotations = []
        for number, record in enumerate(self, first_id):
            x, y, width, height = record["bbox"]
            annotations.append(
                {
                    "id": number,
                    "image_id": image_id,
                    "category_id": category_id,
                    "iscrowd": 0,
                    "area": record["area"],
                    "bbox": [x, y, width + 1, height + 1],
                    "segmentation": record_rle(record),
                    "predicted_iou": record["predicted_iou"],
                    "stability_score": record["stability_score"],
                    "point_coords": record["point_coords"],
                }
            )
        return annotations

    def label_map(self) -> npt.NDArray[np.unsignedinteger[Any]]:
        """One number a pixel, (H,W): 0 for none, k+1 for record k; where masks overlap, the smallest one's."""
        labels = np.zeros(self.hw, np.uint16 if len(self) < 2**16 else np.uint32)
        for k in sorted(range(len(self)), key=lambda k: -self[k]["area"]):
            labels[record_mask(self[k])] = k + 1
        return labels


def make_segmentation(mask: BoolArray, mode: OutputMode) -> BoolArray | Rle:
    """A mask in an output mode."""
    if mode == "binary_mask":
        return mask
    return encode_rle(mask) if mode == "coco_rle" else encode_rle_uncompressed(mask)


def record_mask(record: Record) -> BoolArray:
    """The mask of a record of any output mode, (H,W) bool."""
    segmentation: BoolArray | Rle = record["segmentation"]
    return decode_rle(segmentation) if isinstance(segmentation, dict) else np.asarray(segmentation, bool)


def record_rle(record: Record) -> Rle:
    """The compressed run-length code of a record of any output mode."""
    segmentation: BoolArray | Rle = record["segmentation"]
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], str):
        return {"size": segmentation["size"], "counts": segmentation["counts"]}
    return encode_rle(record_mask(record))
