"""The table of models, and what a configuration refuses."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from samphony.model.config import MODELS, EfficientNetLiteConfig, HieraConfig, SAM2Config

OFFICIAL = [name for name in MODELS if name != "nano"]


def test_eight_released_models_and_the_nano() -> None:
    assert len(OFFICIAL) == 8
    assert {MODELS[name].version for name in OFFICIAL} == {"2.0", "2.1"}
    assert all(MODELS[name].name == name for name in MODELS)
    assert all(MODELS[name].image_size == 1024 and MODELS[name].hidden_dim == 256 for name in OFFICIAL)


@pytest.mark.parametrize("size", ["tiny", "small", "base_plus", "large"])
def test_versions_differ_in_four_flags_only(size: str) -> None:
    new, old = MODELS[size], MODELS[f"2.0-{size}"]
    flags = ("no_obj_embed_spatial", "add_tpos_enc_to_obj_ptrs", "proj_tpos_enc_in_obj_ptrs")
    flags = (*flags, "use_signed_tpos_enc_to_obj_ptrs")
    assert all(getattr(new, flag) and not getattr(old, flag) for flag in flags)
    assert replace(old, name=new.name, version="2.1", **dict.fromkeys(flags, True)) == new


@pytest.mark.parametrize(
    ("size", "channels"),
    [
        ("tiny", (96, 192, 384, 768)),
        ("small", (96, 192, 384, 768)),
        ("base_plus", (112, 224, 448, 896)),
        ("large", (144, 288, 576, 1152)),
    ],
)
def test_channels_double_at_each_stage(size: str, channels: tuple[int, ...]) -> None:
    assert MODELS[size].trunk.channels == channels


def test_derived_sizes() -> None:
    config = SAM2Config(image_size=96)
    assert config.embedding_size == 6
    assert config.mask_input_size == 24
    assert EfficientNetLiteConfig().channels == (24, 40, 112, 320)


@pytest.mark.parametrize("size", [0, -32, 100, 1000])
def test_image_size_is_a_multiple_of_32(size: int) -> None:
    with pytest.raises(ValueError, match="image_size must be a positive multiple of 32"):
        SAM2Config(image_size=size)


def test_hidden_dim_is_a_multiple_of_8() -> None:
    with pytest.raises(ValueError, match="hidden_dim"):
        SAM2Config(hidden_dim=36)


def test_configurations_are_frozen_and_comparable() -> None:
    with pytest.raises(FrozenInstanceError):
        HieraConfig().embed_dim = 3  # type: ignore[misc]
    assert {SAM2Config(), SAM2Config()} == {SAM2Config()}
