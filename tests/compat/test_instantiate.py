"""Models from the configurations that packages hand to Hydra."""

from __future__ import annotations

import pytest

from samphony.compat.instantiate import model_from_config
from samphony.errors import ConfigError, StateError
from samphony.predict.ready import require_weights


def test_overrides_reach_the_configuration() -> None:
    model = model_from_config(
        "sam2_hiera_t",
        image_size=64,
        sam_mask_decoder_extra_args={"dynamic_multimask_via_stability": True},
        memory_attention={"layer": {"self_attention": {"feat_sizes": [4, 4]}}},
    )
    assert model.config.name == "2.0-tiny"
    assert model.image_size == 64
    assert model.sam_mask_decoder.dynamic_multimask_via_stability
    with pytest.raises(StateError, match="without weights"):
        require_weights(model)
    model.load_state_dict(model.state_dict())
    require_weights(model)


def test_an_unknown_setting_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no_such_thing"):
        model_from_config("sam2_hiera_t", no_such_thing=3)
