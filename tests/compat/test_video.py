"""sam2.sam2_video_predictor and the frame loaders under install_as_sam2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.compat.official_parts import instantiate, small_config
from tests.conftest import build_tiny
from tests.golden.weights import fill
from tests.predict.video.conftest import make_clip

import samphony
from samphony.compat.video_frames import AsyncVideoFrameLoader, load_img_as_tensor, load_video_frames
from samphony.errors import ConfigError, StateError
from samphony.model.base import SAM2Base
from samphony.model.config import SAM2Config
from samphony.predict.video import VideoOptions

CLIP = make_clip(3)
HERE = __name__


def own_class() -> type[Any]:
    """A subclass as packages write it, taking the official options apart from the network's settings."""
    from sam2.sam2_video_predictor import SAM2VideoPredictor

    class Own(SAM2VideoPredictor):  # type: ignore[misc]
        def __init__(
            self, fill_hole_area: int = 0, non_overlap_masks: bool = False, mine: int = 0, **kwargs: Any
        ) -> None:
            super().__init__(**kwargs)
            self.fill_hole_area = fill_hole_area
            self.non_overlap_masks = non_overlap_masks
            self.mine = mine

    return Own


def __getattr__(name: str) -> Any:
    if name == "Own":
        return own_class()
    raise AttributeError(name)


def answers(predictor: Any) -> list[torch.Tensor]:
    """Logits of a short clip with one click."""
    state = predictor.init_state(CLIP)
    predictor.add_new_points_or_box(state, 0, 1, points=[[20, 16]], labels=[1])
    return [logits for _, _, logits in predictor.propagate_in_video(state)]


@pytest.fixture
def tiny_config() -> SAM2Config:
    """A configuration small enough to build in a test."""
    return build_tiny().config


class TestFromParts:
    def test_a_subclass_that_hydra_would_make(self, installed: None) -> None:
        model = small_config(fill_hole_area=8, binarize_mask_from_pts_for_mem_enc=True, mine=3)
        model["sam_mask_decoder_extra_args"] = {"dynamic_multimask_via_stability": True}
        own = instantiate({**model, "_target_": f"{HERE}.Own"})
        assert own.mine == 3
        assert own.options == VideoOptions(fill_hole_area=8)
        assert own.model.config.binarize_mask_from_pts_for_mem_enc
        assert own.sam_mask_decoder.dynamic_multimask_via_stability
        own.fill_hole_area = 0
        fill(own.model)
        assert own.to("cpu").eval() is own
        plain = samphony.SAM2VideoPredictor(own.model)
        assert all(torch.equal(a, b) for a, b in zip(answers(own), answers(plain), strict=True))

    def test_weights_are_loaded_as_the_official_builder_does(self, installed: None, tmp_path: Path) -> None:
        from sam2.build_sam import _load_checkpoint

        one, other = (instantiate({**small_config(), "_target_": f"{HERE}.Own"}) for _ in range(2))
        torch.save({"model": one.state_dict()}, tmp_path / "weights.pt")
        _load_checkpoint(other, str(tmp_path / "weights.pt"))
        assert all(torch.equal(other.state_dict()[key], value) for key, value in one.state_dict().items())


class TestBuilder:
    def test_gives_the_class_that_packages_change(self, installed: None, tiny_config: SAM2Config) -> None:
        from sam2.build_sam import build_sam2_video_predictor
        from sam2.sam2_video_predictor import SAM2VideoPredictor, SAM2VideoPredictorVOS

        predictor = build_sam2_video_predictor(tiny_config, device="cpu", random_weights=True)
        fast = build_sam2_video_predictor(tiny_config, device="cpu", random_weights=True, vos_optimized=True)
        assert type(predictor) is SAM2VideoPredictor
        assert type(fast) is SAM2VideoPredictorVOS
        assert isinstance(predictor, samphony.SAM2VideoPredictor)
        assert isinstance(samphony.SAM2VideoPredictor(predictor.model), SAM2VideoPredictor)
        assert predictor.model.config.binarize_mask_from_pts_for_mem_enc
        assert SAM2VideoPredictor(predictor.model, non_overlap_masks=True).non_overlap_masks
        predictor.__class__ = own_class()  # some packages do
        assert len(answers(predictor)) == 3

    @pytest.mark.parametrize("stand_in", [True, False])
    def test_target(self, installed: None, tiny_config: SAM2Config, stand_in: bool) -> None:
        from sam2 import build_sam

        builder = build_sam.build_sam2_video_predictor if stand_in else samphony.build_sam2_video_predictor
        overrides = [f"++model._target_={HERE}.Own", "++model.mine=4", "++model.non_overlap_masks=true"]
        own = builder(tiny_config, device="cpu", random_weights=True, hydra_overrides_extra=overrides)
        assert (type(own).__name__, own.mine, own.non_overlap_masks) == ("Own", 4, True)

    @pytest.mark.parametrize(
        ("target", "message"),
        [("no_such_package.Own", "no_such_package"), ("pathlib.Path", "must name a subclass"), ("Own", "_target_=Own")],
    )
    def test_a_target_that_cannot_be(self, tiny_config: SAM2Config, target: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            samphony.build_sam2_video_predictor(
                tiny_config, device="cpu", hydra_overrides_extra=[f"++model._target_={target}"]
            )

    def test_an_unknown_override(self, installed: None, tiny_config: SAM2Config) -> None:
        from sam2.build_sam import build_sam2_video_predictor

        with pytest.raises(ConfigError, match="imagesize"):
            build_sam2_video_predictor(
                tiny_config, device="cpu", random_weights=True, hydra_overrides_extra=["++model.imagesize=5"]
            )

    def test_without_weights(self, installed: None, tiny_config: SAM2Config) -> None:
        from sam2.build_sam import build_sam2_video_predictor

        with pytest.raises(StateError, match="without weights"):
            answers(build_sam2_video_predictor(tiny_config, device="cpu"))


class TestFrames:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Three pictures."""
        for i in range(3):
            Image.new("RGB", (12, 8), (i * 100, 0, 0)).save(tmp_path / f"{i:05d}.png")
        return tmp_path

    def test_of_a_folder(self, folder: Path) -> None:
        frames, height, width = load_video_frames(str(folder), 16, True)
        assert frames.shape == (3, 3, 16, 16)
        assert (height, width) == (8, 12)
        assert frames[0, 0].mean() < frames[1, 0].mean() < frames[2, 0].mean()
        with pytest.raises(ValueError, match="mean"):
            load_video_frames(str(folder), 16, True, img_mean=(0.5, 0.5, 0.5))

    def test_one_at_a_time(self, folder: Path) -> None:
        paths = sorted(folder.iterdir())
        picture, height, width = load_img_as_tensor(paths[1], 16)
        assert (picture.shape, height, width) == ((3, 16, 16), 8, 12)
        assert float(picture[0].mean()) == pytest.approx(100 / 255)
        mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        loader = AsyncVideoFrameLoader(paths, 16, True, mean, std, torch.device("cpu"))
        assert (len(loader), loader.video_height, loader.video_width) == (3, 8, 12)
        assert torch.allclose(torch.stack(list(loader)), load_video_frames(str(folder), 16, True)[0], atol=1e-6)
        assert loader[2] is loader[2]

    def test_a_loader_as_the_images_of_a_state(self, tmp_path: Path) -> None:
        for t, frame in enumerate(CLIP):
            Image.fromarray(frame).save(tmp_path / f"{t}.png")
        tiny: SAM2Base = build_tiny()
        fill(tiny)
        predictor = samphony.SAM2VideoPredictor(tiny.eval())
        mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        loader = AsyncVideoFrameLoader(sorted(tmp_path.iterdir()), 64, True, mean, std, torch.device("cpu"))
        state = {"images": loader, "num_frames": 3, "video_height": 48, "video_width": 80}
        predictor.add_new_mask(state, 0, 1, np.eye(48, 80, dtype=bool))
        made = [logits for _, _, logits in predictor.propagate_in_video(state)]
        session = predictor.init_state(CLIP)
        predictor.add_new_mask(session, 0, 1, np.eye(48, 80, dtype=bool))
        for a, (_, _, b) in zip(made, predictor.propagate_in_video(session), strict=True):
            assert torch.allclose(a, b, atol=1e-3)
