"""Builders: names, weights, devices, modes, and errors that say what the weights are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.conftest import build_tiny

from samphony.errors import CheckpointError, ConfigError, StateError
from samphony.model.base import SAM2Base
from samphony.model.build import build_model
from samphony.model.config import MODELS, SAM2Config
from samphony.predict.build import build_sam2, build_sam2_hf, build_sam2_video_predictor
from samphony.predict.ready import require_weights


@pytest.fixture
def weights(tmp_path: Path, tiny_model: SAM2Base) -> Path:
    """The tiny model's weights as torch.save writes them."""
    path = tmp_path / "tiny.pt"
    torch.save({"model": tiny_model.state_dict()}, path)
    return path


def equal(a: SAM2Base, b: SAM2Base) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_a_configuration_and_its_weights(tiny_config: SAM2Config, weights: Path, tiny_model: SAM2Base) -> None:
    model = build_sam2(tiny_config, weights, device="cpu")
    assert equal(model, tiny_model)
    assert not model.training
    assert model.device == torch.device("cpu")
    require_weights(model)
    assert build_sam2(tiny_config, str(weights), "cpu", "train").training


def test_parameters_of_a_loaded_model_can_be_trained(tiny_config: SAM2Config, weights: Path) -> None:
    model = build_sam2(tiny_config, weights, device="cpu", mode="train")
    assert all(p.requires_grad and not p.is_meta for p in model.parameters())


def test_the_device_is_chosen_when_none_is_given(tiny_config: SAM2Config, weights: Path) -> None:
    wanted = "cuda" if torch.cuda.is_available() else "cpu"
    assert build_sam2(tiny_config, weights).device.type == wanted


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")
def test_a_device_that_is_not_there(tiny_config: SAM2Config, weights: Path) -> None:
    with pytest.raises(ConfigError, match="has no CUDA; use device='cpu'"):
        build_sam2(tiny_config, weights, device="cuda")


@pytest.mark.parametrize(
    "name", ["configs/sam2.1/sam2.1_hiera_t.yaml", "sam2.1_hiera_t", "tiny", "facebook/sam2.1-hiera-tiny"]
)
def test_names_of_one_model(name: str) -> None:
    with torch.device("meta"):
        model = build_sam2(name, device="meta", hydra_overrides_extra=["++model.image_size=64"])
    assert model.config.name == "tiny"
    assert model.config.trunk == MODELS["tiny"].trunk


def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match=r"no model 'sam2\.1_hiera_x'"):
        build_sam2("sam2.1_hiera_x")


def test_modes(tiny_config: SAM2Config) -> None:
    with pytest.raises(ConfigError, match="mode must be 'eval' or 'train', got 'test'"):
        build_sam2(tiny_config, device="cpu", mode="test")


def test_random_weights_have_to_be_asked_for(tiny_config: SAM2Config) -> None:
    model = build_sam2(tiny_config, device="cpu")
    with pytest.raises(StateError, match="random_weights=True"):
        require_weights(model)
    require_weights(build_sam2(tiny_config, device="cpu", random_weights=True))
    model.load_state_dict(model.state_dict())
    require_weights(model)


def test_a_failed_load_leaves_the_mark(tiny_config: SAM2Config) -> None:
    model = build_sam2(tiny_config, device="cpu")
    with pytest.raises(RuntimeError):
        model.load_state_dict({})
    model.load_state_dict({"no_mem_embed": model.no_mem_embed}, strict=False)
    with pytest.raises(StateError):
        require_weights(model)


def test_postprocessing_is_the_stability_fallback(tiny_config: SAM2Config, weights: Path) -> None:
    on = build_sam2(tiny_config, weights, device="cpu").sam_mask_decoder
    assert on.dynamic_multimask_via_stability
    assert (on.dynamic_multimask_stability_delta, on.dynamic_multimask_stability_thresh) == (0.05, 0.98)
    off = build_sam2(tiny_config, weights, device="cpu", apply_postprocessing=False).sam_mask_decoder
    assert not off.dynamic_multimask_via_stability


def test_overrides_win_over_postprocessing(tiny_config: SAM2Config, weights: Path) -> None:
    extra = ["++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh=0.5"]
    model = build_sam2(tiny_config, weights, device="cpu", hydra_overrides_extra=extra)
    assert model.sam_mask_decoder.dynamic_multimask_stability_thresh == 0.5


def test_weights_of_another_model_are_named(tmp_path: Path, tiny_config: SAM2Config) -> None:
    path = tmp_path / "weights.pt"
    with torch.device("meta"):
        state = build_model(MODELS["2.0-small"]).state_dict()
    torch.save({"model": {k: torch.zeros(1).expand(v.shape) for k, v in state.items()}}, path)
    with pytest.raises(CheckpointError, match=r"weights\.pt does not fit the model 'test-tiny'.*'2\.0-small'"):
        build_sam2(tiny_config, path, device="cpu")


def test_the_model_is_read_from_the_weights(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(CheckpointError, match="give config_file"):
        build_sam2(None, weights, device="cpu")
    with pytest.raises(ConfigError, match="give config_file, or ckpt_path"):
        build_sam2(None, device="cpu")
    path = tmp_path / "small.pt"
    with torch.device("meta"):
        state = build_model(MODELS["2.0-tiny"]).state_dict()
    torch.save({k: torch.zeros(1).expand(v.shape).contiguous() for k, v in state.items()}, path)
    model = build_sam2(None, path, device="cpu", hydra_overrides_extra=["++model.image_size=64"])
    assert (model.config.name, model.image_size) == ("2.0-tiny", 64)


def test_unknown_keywords_are_accepted_as_officially(tiny_config: SAM2Config, weights: Path) -> None:
    build_sam2(tiny_config, weights, device="cpu", some_future_option=3)


def test_from_the_hub_with_weights_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAMPHONY_CACHE", str(tmp_path))
    with torch.device("meta"):
        state = build_model(MODELS["2.0-tiny"]).state_dict()
    torch.save(
        {"model": {k: torch.zeros(1).expand(v.shape).contiguous() for k, v in state.items()}},
        tmp_path / "sam2_hiera_tiny.pt",
    )
    model = build_sam2_hf("facebook/sam2-hiera-tiny", device="cpu", mask_threshold=1.0)
    assert model.config.name == "2.0-tiny"
    require_weights(model)


def test_the_video_builder_takes_the_options_of_the_door(tiny_config: SAM2Config, weights: Path) -> None:
    door = build_sam2_video_predictor(
        tiny_config,
        weights,
        device="cpu",
        hydra_overrides_extra=["++model.non_overlap_masks=true", "++model.memory_temporal_stride_for_eval=2"],
    )
    assert door.options.non_overlap_masks
    assert door.model.config.memory_temporal_stride_for_eval == 2
    assert door.model.config.binarize_mask_from_pts_for_mem_enc
    plain = build_sam2_video_predictor(tiny_config, weights, device="cpu", apply_postprocessing=False)
    assert not plain.model.config.binarize_mask_from_pts_for_mem_enc


def test_a_seeded_tiny_model_is_what_the_fixture_says(tiny_config: SAM2Config, tiny_model: SAM2Base) -> None:
    assert equal(tiny_model, build_tiny(tiny_config))
    assert not equal(tiny_model, build_model(replace(tiny_config), seed=9))
