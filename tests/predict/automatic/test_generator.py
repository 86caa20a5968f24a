from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import torch
from tests.predict.automatic.players import plain_generate

from samphony.automatic_mask_generator import SAM2AutomaticMaskGenerator as OfficialDoor
from samphony.errors import ConfigError
from samphony.media.masks import decode_rle
from samphony.model.base import SAM2Base
from samphony.model.config import SAM2Config
from samphony.predict.automatic import PRESETS, SAM2AutomaticMaskGenerator
from samphony.predict.automatic import decode as decode_module
from samphony.predict.automatic.presets import find_preset
from samphony.predict.build import build_sam2

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "several batches": {"points_per_batch": 5, "box_nms_thresh": 0.9},
    "crops": {"crop_n_layers": 1, "crop_n_points_downscale_factor": 2, "crop_nms_thresh": 0.9},
    "m2m": {"use_m2m": True},
    "single": {"multimask_output": False},
    "no limits": {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "points_per_side": 2},
    "own points": {"points_per_side": None, "point_grids": [np.array([[0.2, 0.3], [0.71, 0.5], [0.9, 0.9]])]},
}


@pytest.fixture(scope="module")
def levels(tiny_model: SAM2Base) -> dict[str, float]:
    """Thresholds between which random masks and scores lie, so that every filter keeps some and drops some."""
    photo = make_photo()
    generator = SAM2AutomaticMaskGenerator(
        tiny_model, points_per_side=4, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=2.0
    )
    generator.predictor.set_image(photo)
    points = torch.rand(16, 1, 2, generator=torch.Generator().manual_seed(0)) * 64
    _, ious, low = generator.predictor._predict(points, torch.ones(16, 1, dtype=torch.int32))
    return {
        "pred_iou_thresh": float(ious.quantile(0.3)),
        "mask_threshold": float(low.quantile(0.6)),
        "stability_score_offset": float(low.std()) * 0.1,
        "stability_score_thresh": 0.5,
    }


def make_photo(height: int = 70, width: int = 110) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    pixels = np.stack((x * 2, y * 3, (x + y) % 50 * 5), axis=-1).astype(np.uint8)
    pixels[20:50, 30:80] = (250, 40, 90)
    return pixels


@pytest.mark.parametrize("name", SETTINGS)
def test_results_are_those_of_the_plain_way(tiny_model: SAM2Base, levels: dict[str, float], name: str) -> None:
    photo = make_photo()
    settings = {"points_per_side": 4, **levels, **SETTINGS[name]}
    generator = SAM2AutomaticMaskGenerator(tiny_model, **settings)
    records = generator.generate(photo)
    expected = plain_generate(generator, photo)
    assert len(expected) > 0
    assert len(records) == len(expected)
    for record, row in zip(records, expected, strict=True):
        assert record["predicted_iou"] == pytest.approx(row["iou"], abs=1e-5)
        assert record["stability_score"] == pytest.approx(row["stability"], abs=2e-3, nan_ok=True)
        assert record["point_coords"] == [pytest.approx(row["point"])]
        mask = record["segmentation"]
        assert (mask != row["mask"]).mean() < 1e-3  # random logits: some pixels lie within rounding of the threshold
        x0, y0, x1, y1 = row["box"]
        np.testing.assert_allclose(record["bbox"], [x0, y0, x1 - x0, y1 - y0], rtol=0, atol=1)
        left, top, right, bottom = row["crop"].box
        assert record["crop_box"] == [left, top, right - left, bottom - top]
        assert record["area"] == mask.sum()


def test_report_adds_up(tiny_model: SAM2Base, levels: dict[str, float]) -> None:
    generator = SAM2AutomaticMaskGenerator(tiny_model, points_per_side=4, crop_n_layers=1, **levels)
    records = generator.generate(make_photo())
    r = records.report
    assert r.proposed == 5 * 16 * 3
    dropped = r.iou + r.stability + r.crop_edge + r.duplicate + r.duplicate_of_crop + r.area
    assert r.proposed == dropped + r.kept
    assert r.kept == len(records)
    assert r.iou > 0
    assert r.stability > 0


def test_records_are_the_official_ones(tiny_model: SAM2Base, levels: dict[str, float]) -> None:
    photo = make_photo()
    by_mode = {
        mode: SAM2AutomaticMaskGenerator(tiny_model, points_per_side=3, output_mode=mode, **levels).generate(photo)
        for mode in ("binary_mask", "uncompressed_rle", "coco_rle")
    }
    first = by_mode["binary_mask"][0]
    assert list(first) == [
        "segmentation",
        "area",
        "bbox",
        "predicted_iou",
        "point_coords",
        "stability_score",
        "crop_box",
    ]
    assert first["segmentation"].dtype == bool
    assert first["segmentation"].flags.f_contiguous
    assert {type(v) for v in first["bbox"] + first["crop_box"] + first["point_coords"][0]} == {float}
    assert isinstance(by_mode["uncompressed_rle"][0]["segmentation"]["counts"], list)
    assert isinstance(by_mode["coco_rle"][0]["segmentation"]["counts"], str)
    for a, b, c in zip(*by_mode.values(), strict=True):
        np.testing.assert_array_equal(a["segmentation"], decode_rle(b["segmentation"]))
        np.testing.assert_array_equal(a["segmentation"], decode_rle(c["segmentation"]))


@pytest.mark.parametrize("layers", [0, 1])
def test_no_survivor_is_an_empty_list(tiny_model: SAM2Base, layers: int) -> None:
    generator = SAM2AutomaticMaskGenerator(tiny_model, points_per_side=2, pred_iou_thresh=1.5, crop_n_layers=layers)
    records = generator.generate(make_photo())
    assert records == []
    assert records.report.iou == records.report.proposed == 12 * (1 + 4 * layers)


def test_region_area_acts_except_in_the_official_door(tiny_model: SAM2Base, levels: dict[str, float]) -> None:
    photo = make_photo()
    with pytest.warns(UserWarning, match=r"samphony\.SAM2AutomaticMaskGenerator cleans"):
        official = OfficialDoor(tiny_model, points_per_side=4, min_mask_region_area=60, **levels)
    plain = SAM2AutomaticMaskGenerator(tiny_model, points_per_side=4, **levels).generate(photo)
    same = official.generate(photo)
    assert [r["area"] for r in same] == [r["area"] for r in plain]

    cleaning = SAM2AutomaticMaskGenerator(tiny_model, points_per_side=4, min_mask_region_area=60, **levels)
    cleaned = cleaning.generate(photo)
    from samphony.media.masks import label_components

    assert cleaned
    for record in cleaned:
        mask = record["segmentation"]
        assert (label_components(mask)[1][1:] >= 60).all()
        assert (label_components(~mask)[1][1:] >= 60).all()
        assert record["area"] == mask.sum() >= 60
    assert cleaned.report.area + cleaned.report.duplicate + cleaned.report.kept > 0


def test_masks_are_drawn_only_for_confident_clicks(
    tiny_model: SAM2Base, levels: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = tiny_model.sam_mask_decoder
    drawn: list[int] = []
    original = decoder.draw_masks

    def counting(decoded: Any, high_res: Any = None) -> Any:
        drawn.append(len(decoded.ious))
        return original(decoded, high_res)

    monkeypatch.setattr(decoder, "draw_masks", counting)
    SAM2AutomaticMaskGenerator(tiny_model, points_per_side=4, pred_iou_thresh=1.5).generate(make_photo())
    assert drawn == []
    SAM2AutomaticMaskGenerator(tiny_model, points_per_side=4, **levels).generate(make_photo())
    assert 0 < sum(drawn) <= 16


def test_groups_do_not_change_results(
    tiny_model: SAM2Base, levels: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = SAM2AutomaticMaskGenerator(tiny_model, points_per_side=4, **levels)
    whole = generator.generate(make_photo())
    monkeypatch.setattr(decode_module, "CPU_GROUP_FLOATS", 1)
    singly = generator.generate(make_photo())
    assert [r["point_coords"] for r in whole] == [r["point_coords"] for r in singly]
    np.testing.assert_allclose(
        [r["predicted_iou"] for r in whole], [r["predicted_iou"] for r in singly], rtol=0, atol=1e-5
    )


def test_a_model_that_draws_its_prompts(
    fresh_tiny_model: Callable[[SAM2Config], SAM2Base], tiny_config: SAM2Config
) -> None:
    """The nano's prompt encoder gives each click a dense prompt of its own."""
    config = replace(tiny_config, prompt_encoder=replace(tiny_config.prompt_encoder, drawn=True))
    generator = SAM2AutomaticMaskGenerator(
        fresh_tiny_model(config), points_per_side=3, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=0.95
    )
    records = generator.generate(make_photo())
    expected = plain_generate(generator, make_photo())
    assert [r["point_coords"][0] for r in records] == [pytest.approx(row["point"]) for row in expected]


def test_predictor_is_left_empty(tiny_model: SAM2Base) -> None:
    generator = SAM2AutomaticMaskGenerator(tiny_model, points_per_side=1)
    generator.generate(make_photo())
    assert generator.predictor._features == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"points_per_side": None}, "exactly one of points_per_side and point_grids"),
        ({"point_grids": [np.zeros((1, 2))]}, "exactly one of"),
        ({"output_mode": "polygon"}, "output_mode must be one of"),
        ({"points_per_batch": 0}, "points_per_batch"),
        ({"crop_n_layers": -1}, "crop_n_layers"),
    ],
)
def test_arguments_that_cannot_be(tiny_model: SAM2Base, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SAM2AutomaticMaskGenerator(tiny_model, **arguments)


def test_presets_ask_less_of_the_nano() -> None:
    for name, preset in PRESETS.items():
        nano = find_preset(name, "nano")
        assert nano.points_per_side == preset.points_per_side
        assert nano.pred_iou_thresh < preset.pred_iou_thresh
        assert nano.stability_score_thresh < preset.stability_score_thresh
        assert find_preset(name, "tiny") == preset


def test_the_nano_finds_the_cat() -> None:
    photo = files("samphony.assets").joinpath("cat.jpg").read_bytes()
    generator = SAM2AutomaticMaskGenerator.from_preset(build_sam2("nano"), "balanced", points_per_side=4)
    records = generator.generate(photo)
    assert any(r["segmentation"][190, 130] and r["area"] > 40_000 for r in records)


def test_presets(tiny_model: SAM2Base) -> None:
    for name, preset in PRESETS.items():
        generator = SAM2AutomaticMaskGenerator.from_preset(tiny_model, name)
        assert generator.pred_iou_thresh == preset.pred_iou_thresh
        assert generator.clean_regions
    mine = SAM2AutomaticMaskGenerator.from_preset(tiny_model, "fast", pred_iou_thresh=0.5, points_per_side=3)
    assert len(mine.point_grids[0]) == 9
    assert mine.pred_iou_thresh == 0.5
    with pytest.raises(ConfigError, match="there are fast, balanced, thorough"):
        SAM2AutomaticMaskGenerator.from_preset(tiny_model, "best")


def test_from_pretrained_routes_its_arguments(tiny_model: SAM2Base, monkeypatch: pytest.MonkeyPatch) -> None:
    from samphony.predict import build

    seen: dict[str, Any] = {}

    def fake(model_id: str, **kwargs: Any) -> SAM2Base:
        seen.update(kwargs, model_id=model_id)
        return tiny_model

    monkeypatch.setattr(build, "build_sam2_hf", fake)
    generator = SAM2AutomaticMaskGenerator.from_pretrained(
        "facebook/sam2.1-hiera-tiny", device="cpu", preset="fast", points_per_side=5
    )
    assert seen == {"model_id": "facebook/sam2.1-hiera-tiny", "device": "cpu"}
    assert len(generator.point_grids[0]) == 25
    assert generator.stability_score_thresh == PRESETS["fast"].stability_score_thresh
    with pytest.raises(ConfigError, match="unknown argument pred_iou"):
        SAM2AutomaticMaskGenerator.from_pretrained("tiny", pred_iou=0.3)
