"""Holes and sprinkles: filled in what is stored and returned, on any device, and only when asked for."""

from __future__ import annotations

import numpy as np
import torch

from samphony.model.base import SAM2Base
from samphony.predict.video import SAM2VideoPredictor, VideoOptions
from samphony.predict.video.cleaning import clean_logits


def test_areas_and_values() -> None:
    logits = torch.full((1, 1, 12, 12), -3.0)
    logits[..., 1:9, 1:9] = 4.0
    logits[..., 3, 3] = -2.0  # a hole of 2 pixels, touching at a corner
    logits[..., 4, 4] = -2.0
    logits[..., 11, 11] = 1.0  # a sprinkle
    assert torch.equal(clean_logits(logits, 0, 0), logits)
    assert torch.equal(clean_logits(logits, 1, 0), logits)
    filled = clean_logits(logits, 2, 0)
    assert filled[0, 0, 3, 3] == filled[0, 0, 4, 4] == np.float32(0.1)
    assert filled[0, 0, 11, 11] == 1.0
    cleaned = clean_logits(logits, 2, 1)
    assert cleaned[0, 0, 11, 11] == np.float32(-0.1)
    assert int((cleaned != logits).sum()) == 3


def test_option_acts_on_answers_and_not_on_memories_of_tracked_frames(living_model: SAM2Base, clip: np.ndarray) -> None:
    def run(**options: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        predictor = SAM2VideoPredictor(living_model, VideoOptions(**options))  # type: ignore[arg-type]
        state = predictor.init_state(clip[:3])
        predictor.add_new_mask(state, 0, 1, np.ones((48, 80), bool))
        for _ in predictor.propagate_in_video(state):
            pass
        records = state["output_dict_per_obj"][0]["non_cond_frame_outputs"]
        return records[1]["maskmem_features"], [records[t]["pred_masks"] for t in (1, 2)]

    plain_memory, plain = run()
    filled_memory, filled = run(fill_hole_area=256)
    assert torch.equal(plain_memory, filled_memory)
    for before, after in zip(plain, filled, strict=True):
        assert torch.equal(after, clean_logits(before, 256, 0))
    assert any(not torch.equal(before, after) for before, after in zip(plain, filled, strict=True))
