"""segment-geospatial's SamGeo2 on samphony; run by ``packages.py``, which says what is tried."""

# ruff: noqa: E402 - samphony stands in for sam2 before anything imports it

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import numpy as np
import torch

import samphony

samphony.install_as_sam2()

from samphony.model.build import build_model
from samphony.model.config import MODELS

# The package imports SAM 1 and subclasses its predictor when it is imported: an empty stand-in, never used here.
sam1 = types.ModuleType("segment_anything")
sam1.SamAutomaticMaskGenerator = sam1.SamPredictor = object  # type: ignore[attr-defined]
sam1.sam_model_registry = {}  # type: ignore[attr-defined]
sys.modules.setdefault("segment_anything", sam1)

from samgeo import SamGeo2

MODEL = "sam2-hiera-tiny"
SMALLER = ["++model.image_size=256"]  # to be quick


def main() -> None:
    """Every way of asking, against our own door on the same photo."""
    weights = Path(os.environ["SAMPHONY_CACHE"]) / "sam2_hiera_tiny.pt"
    torch.save({"model": build_model(MODELS["2.0-tiny"], seed=0).state_dict()}, weights)
    photo = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    own = samphony.SAM2ImagePredictor.from_pretrained(
        f"facebook/{MODEL}", device="cpu", apply_postprocessing=False, hydra_overrides_extra=SMALLER
    )
    own.set_image(photo)

    geo = SamGeo2(MODEL, device="cpu", automatic=False, hydra_overrides_extra=SMALLER)
    assert type(geo.predictor) is samphony.SAM2ImagePredictor
    geo.set_image(photo)
    masks, scores, logits = geo.predict(
        point_coords=[[80, 60]], point_labels=[1], multimask_output=True, return_results=True
    )
    for a, b in zip((masks, scores, logits), own.predict(np.array([[80, 60]]), np.array([1])), strict=True):
        assert np.allclose(a, b, atol=1e-4)
    print("  predict with a point: as our own door")

    boxes = [[10, 10, 100, 100], [30, 30, 60, 80]]
    masks, scores, _ = geo.predict(boxes=boxes, return_results=True)
    assert masks.shape == (2, 1, 120, 160)
    assert np.allclose(scores, own.predict(box=np.array(boxes), multimask_output=False)[1], atol=1e-4)
    print("  predict with two boxes: as our own door")

    found, scores, _ = geo.predict_by_points([[20, 30], [50, 60], [90, 90]], return_results=True)
    assert len(found) == 3
    assert found[0]["segmentation"].shape == (120, 160)
    assert scores.shape == (3, 1)
    print("  predict_by_points: three masks")

    geo.set_image_batch([photo, photo[:100, :90]])
    masks, _, _ = geo.predict_batch([np.array([[5, 5]]), np.array([[9, 9]])], [np.array([1]), np.array([1])])
    assert [m.shape for m in masks] == [(1, 120, 160), (1, 100, 90)]
    print("  predict_batch: two photos")

    automatic = SamGeo2(
        MODEL,
        device="cpu",
        hydra_overrides_extra=SMALLER,
        points_per_side=4,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
    )
    output = Path(os.environ["CHECK_FOLDER"]) / "masks.png"
    automatic.generate(photo, output=str(output))
    assert automatic.masks
    assert {"segmentation", "area", "bbox", "predicted_iou"} <= set(automatic.masks[0])
    assert output.is_file()
    print(f"  generate: {len(automatic.masks)} masks")


if __name__ == "__main__":
    main()
