"""The image door gives the official numbers, on a real photo at full size."""

from __future__ import annotations

from itertools import takewhile

import pytest

from samphony.errors import PromptError
from tests.golden.replay import CASES, differences, internals, picture, predictor, recorded, run

pytestmark = pytest.mark.golden

OTHERS = ("small", "base_plus", "large", "2.0-tiny", "2.0-small", "2.0-base_plus", "2.0-large")


def only(want: dict, got: dict) -> dict:
    """The recorded arrays of the steps that were done."""
    done = {key.rsplit("/", 1)[0] for key in got if key.endswith("/iou")}
    return {key: value for key, value in want.items() if key.startswith("int/") or key.split("/")[0] in done}


def test_one_photo_every_prompt() -> None:
    """One encoding, then clicks, boxes, masks, batches, the stability fallback and another threshold."""
    door = predictor("tiny")
    photo = picture("coffee.jpg")
    door.set_image(photo)

    got = internals(door, photo)
    run(door, CASES["click"]["steps"][1:], got)
    found = differences(recorded("click_tiny"), got)

    steps = CASES["prompts_tiny"]["steps"]
    first_photo = list(takewhile(lambda step: not step.get("raises"), steps[1:]))
    assert len(first_photo) == 16
    got = run(door, first_photo)
    found += differences(only(recorded("prompts_tiny"), got), got)
    labels_missing = steps[len(first_photo) + 1]
    with pytest.raises(PromptError, match="point_labels"):
        door.predict(**labels_missing["args"])

    stability = CASES["stability"]["steps"][1:]
    found += differences(recorded("stability_on"), run(door, stability))
    door.model.sam_mask_decoder.dynamic_multimask_via_stability = False
    found += differences(recorded("stability_off"), run(door, stability))

    # Officially holes and sprinkles of this case stayed, for want of a compiled extension: only the threshold acted.
    door.mask_threshold = 1.5
    found += differences(recorded("holes_sprinkles"), run(door, CASES["holes_sprinkles"]["steps"][1:]))
    assert not found


@pytest.mark.slow
@pytest.mark.parametrize("model", OTHERS)
def test_a_click_in_the_other_models(model: str) -> None:
    door = predictor(model, seed=2 if model.startswith("2.0") else 0)
    got = run(door, CASES["click"]["steps"])
    got |= internals(door, picture("coffee.jpg"))
    assert not differences(recorded(f"click_{model}"), got)


@pytest.mark.slow
def test_two_photos_at_once() -> None:
    assert not differences(recorded("batch"), run(predictor("tiny"), CASES["batch"]["steps"]))


@pytest.mark.slow
def test_prompts_of_another_model() -> None:
    got = run(predictor("2.0-base_plus"), CASES["prompts_2.0-base_plus"]["steps"])
    assert not differences(only(recorded("prompts_2.0-base_plus"), got), got)


@pytest.mark.slow
def test_a_grey_photo_in_three_channels() -> None:
    steps = [s for s in CASES["prompts_tiny"]["steps"] if s.get("name") in ("grey3", "grey_click")]
    assert len(steps) == 2
    got = run(predictor("tiny"), steps)
    assert not differences(only(recorded("prompts_tiny"), got), got)


@pytest.mark.slow
def test_the_check_can_fail() -> None:
    """A thousandth of one parameter is noticed."""
    door = predictor("tiny")
    door.model.sam_mask_decoder.mask_tokens.weight.data *= 1.001
    found = differences(only(recorded("click_tiny"), got := run(door, CASES["click"]["steps"])), got)
    assert any("/low" in line for line in found)
