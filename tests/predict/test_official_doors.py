"""The doors under their official module names: official numbers where the official package leaves work undone."""

from __future__ import annotations

import numpy as np
import pytest

import samphony.build_sam
import samphony.sam2_video_predictor
from samphony.automatic_mask_generator import SAM2AutomaticMaskGenerator as OfficialGenerator
from samphony.errors import ConfigError
from samphony.model.base import SAM2Base
from samphony.predict.image import SAM2ImagePredictor
from samphony.sam2_image_predictor import SAM2ImagePredictor as OfficialDoor


def test_the_official_image_door_says_that_it_does_not_clean(tiny_model: SAM2Base) -> None:
    with pytest.warns(UserWarning, match=r"samphony\.SAM2ImagePredictor cleans masks on every device"):
        door = OfficialDoor(tiny_model, max_hole_area=40, max_sprinkle_area=40)
    photo = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    predictors = {
        "plain": SAM2ImagePredictor(tiny_model),
        "door": door,
        "cleaned": SAM2ImagePredictor(tiny_model, max_hole_area=40, max_sprinkle_area=40),
    }
    masks = {}
    for name, predictor in predictors.items():
        predictor.set_image(photo)
        masks[name] = predictor.predict(point_coords=[[40, 30]], point_labels=[1])[0]
    np.testing.assert_array_equal(masks["door"], masks["plain"])
    assert (masks["cleaned"] != masks["plain"]).any()


def test_the_official_mask_generator_takes_settings_with_a_released_model(
    tiny_model: SAM2Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    from samphony.predict import build

    monkeypatch.setattr(build, "build_sam2_hf", lambda _model_id, **_: tiny_model)
    generator = OfficialGenerator.from_pretrained("facebook/sam2.1-hiera-tiny", device="cpu", points_per_side=5)
    assert isinstance(generator, OfficialGenerator)
    assert len(generator.point_grids[0]) == 25
    assert generator.clean_regions is False
    with pytest.raises(ConfigError, match="unknown argument points"):
        OfficialGenerator.from_pretrained("facebook/sam2.1-hiera-tiny", points=5)


def test_builders_and_video_door_are_ours() -> None:
    from samphony.predict.build import build_sam2, build_sam2_video_predictor
    from samphony.predict.video.predictor import SAM2VideoPredictor

    assert samphony.build_sam.build_sam2 is build_sam2
    assert samphony.build_sam.build_sam2_video_predictor is build_sam2_video_predictor
    assert samphony.sam2_video_predictor.SAM2VideoPredictor is SAM2VideoPredictor
