from __future__ import annotations

import io
import json
from contextlib import redirect_stdout

import numpy as np
import pytest
import supervision as sv
from pycocotools.coco import COCO
from tests.predict.automatic.players import ColourGenerator

from samphony.predict.automatic.records import MaskRecords, make_segmentation
from samphony.predict.automatic.report import DropReport, Tally


@pytest.fixture
def pixels() -> np.ndarray:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[5:30, 5:40] = 10
    pixels[10:20, 10:20] = 20
    pixels[35:38, 50:59] = 30
    return pixels


def records(pixels: np.ndarray, mode: str = "binary_mask") -> MaskRecords:
    made = ColourGenerator().generate(pixels)
    masks = made.masks()
    for record, mask in zip(made, masks, strict=True):
        record["segmentation"] = make_segmentation(mask, mode)  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize("mode", ["binary_mask", "uncompressed_rle", "coco_rle"])
def test_supervision_takes_the_columns(pixels: np.ndarray, mode: str) -> None:
    result = records(pixels, mode)
    detections = sv.Detections(**result.to_detections())
    assert len(detections) == 3
    assert detections.mask is not None
    for i, value in enumerate((10, 20, 30)):
        np.testing.assert_array_equal(detections.mask[i], pixels[..., 0] == value)
    np.testing.assert_array_equal(detections.xyxy[1], [10, 10, 19, 19])
    assert detections.confidence is not None
    np.testing.assert_allclose(detections.confidence, 0.9)
    assert detections.tracker_id is not None
    assert detections.tracker_id.tolist() == [1, 2, 3]
    large = detections[np.asarray(detections["area"]) > 50]
    assert len(large) == 2


def test_supervision_takes_the_list(pixels: np.ndarray) -> None:
    detections = sv.Detections.from_sam(records(pixels))
    assert detections.mask is not None
    np.testing.assert_array_equal(detections.mask[0], pixels[..., 0] == 10)  # largest first
    np.testing.assert_array_equal(detections.xyxy[0], [5, 5, 39, 29])


def test_nothing_found_is_fine_too(pixels: np.ndarray) -> None:
    empty = MaskRecords([], (40, 60), DropReport())
    assert len(sv.Detections(**empty.to_detections())) == 0
    assert empty.to_detections(with_masks=False)["mask"] is None
    assert empty.to_coco() == []
    assert empty.label_map().max() == 0
    assert isinstance(empty, list)


def test_coco_tools_load_the_annotations(pixels: np.ndarray) -> None:
    coco = COCO()
    coco.dataset = {
        "images": [{"id": 7, "height": 40, "width": 60}],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": json.loads(json.dumps(records(pixels, "uncompressed_rle").to_coco(image_id=7, first_id=5))),
    }
    with redirect_stdout(io.StringIO()):
        coco.createIndex()
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[7]))
    assert [a["id"] for a in annotations] == [5, 6, 7]
    np.testing.assert_array_equal(coco.annToMask(annotations[1]) > 0, pixels[..., 0] == 20)
    assert annotations[1]["bbox"] == [10, 10, 10, 10]  # COCO counts both ends


def test_small_masks_lie_on_top_in_the_label_map(pixels: np.ndarray) -> None:
    result = records(pixels)
    whole = np.zeros((40, 60), bool)
    whole[5:30, 5:40] = True
    result[0]["segmentation"], result[0]["area"] = whole, int(whole.sum())
    labels = result.label_map()
    assert labels[6, 6] == 1
    assert labels[15, 15] == 2
    assert labels[36, 55] == 3
    assert labels[0, 0] == 0


def test_report_adds_up_and_reads_well() -> None:
    tally = Tally(crop_edge=1, duplicate=2, kept=3)
    tally.judge_ious(np.linspace(0, 1, 11, dtype=np.float32), dropped=4)
    tally.judge_stability(np.array([np.nan, 0.5, 1.0], np.float32), dropped=1)
    report = tally.report()
    assert report.proposed == report.iou + report.stability + report.crop_edge + report.duplicate + report.kept == 11
    assert report.iou_quantiles == pytest.approx((0.1, 0.25, 0.5, 0.75, 0.9))
    assert report.stability_quantiles[2] == 0.5
    text = str(report)
    assert "pred_iou_thresh" in text
    assert "50% below 0.50" in text
    assert str(DropReport()).count("\n") == 8
