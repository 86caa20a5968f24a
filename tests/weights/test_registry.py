from __future__ import annotations

import subprocess
import sys

import pytest

from samphony.errors import ConfigError
from samphony.model.config import MODELS
from samphony.weights.registry import WEIGHTS, canonical_name, resolve_name

NAMES = {
    "tiny": ["tiny", "Tiny", "t", "2.1-tiny", "sam2.1_hiera_t", "sam2.1_hiera_t.yaml", "sam2.1_hiera_tiny.pt"],
    "small": ["small", "configs/sam2.1/sam2.1_hiera_s.yaml", "facebook/sam2.1-hiera-small"],
    "base_plus": ["base_plus", "base-plus", "b+", "sam2.1_hiera_b+", "facebook/sam2.1-hiera-base-plus"],
    "large": ["large", "configs\\sam2.1\\sam2.1_hiera_l.yaml", "sam2.1-large"],
    "2.0-tiny": ["2.0-tiny", "sam2_hiera_t.yaml", "configs/sam2/sam2_hiera_t.yaml", "facebook/sam2-hiera-tiny"],
    "2.0-base_plus": ["2.0-base_plus", "sam2_hiera_b+", "facebook/sam2-hiera-base-plus", "sam2_base_plus"],
    "2.0-large": ["2.0-large", "sam2_hiera_l", "sam2_hiera_large.pt"],
    "nano": ["nano", "NANO"],
}


@pytest.mark.parametrize(("model", "name"), [(m, name) for m, names in NAMES.items() for name in names])
def test_names_people_use(model: str, name: str) -> None:
    assert canonical_name(name) == model
    assert resolve_name(name) is MODELS[model]


def test_every_released_model_is_found_by_each_of_its_names() -> None:
    assert [*WEIGHTS, "nano"] == list(MODELS)
    for model, weights in WEIGHTS.items():
        for name in (model, weights.official_name, weights.file, weights.hub_repo, weights.url):
            assert canonical_name(name) == model


def test_urls_are_the_published_ones() -> None:
    base = "https://dl.fbaipublicfiles.com/segment_anything_2"
    assert WEIGHTS["base_plus"].url == f"{base}/092824/sam2.1_hiera_base_plus.pt"
    assert WEIGHTS["2.0-large"].url == f"{base}/072824/sam2_hiera_large.pt"
    assert WEIGHTS["tiny"].approximate_size == 156_008_466
    assert WEIGHTS["large"].approximate_size == pytest.approx(898e6, rel=0.01)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("tinny", "did you mean 'tiny'"),
        ("sam2.1_hiera_x", "did you mean 'sam2.1_hiera_"),
        ("facebook/sam2.1-hiera-huge", "facebook/sam2.1-hiera-large"),
        ("", "Models: tiny"),
        ("sam2.2_hiera_t", "there is no model"),
        ("sam2.1_hiera_b+_MOSE_finetune.yaml", "there is no model"),
    ],
)
def test_unknown_names_give_the_closest(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint.replace("+", r"\+")):
        canonical_name(name)


def test_not_a_name() -> None:
    with pytest.raises(ConfigError, match="must be a name"):
        canonical_name(3)  # type: ignore[arg-type]


def test_the_registry_needs_no_torch() -> None:
    code = "import sys, samphony.weights.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
