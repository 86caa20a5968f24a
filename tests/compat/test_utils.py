"""sam2.utils on tensors, and the modules that need an adapter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from samphony.compat import amg, misc
from samphony.compat.hub import hf_download, load_checkpoint
from samphony.compat.position import PositionEmbeddingSine
from samphony.model.base import SAM2Base
from samphony.model.position import sine_position_2d

MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)))


@given(MASKS)
@settings(max_examples=30, deadline=None)
def test_run_lengths_there_and_back(masks: np.ndarray) -> None:
    codes = amg.mask_to_rle_pytorch(torch.from_numpy(masks))
    for mask, code in zip(masks, codes, strict=True):
        assert np.array_equal(amg.rle_to_mask(code), mask)
        assert amg.area_from_rle(code) == mask.sum()
        assert np.array_equal(amg.rle_to_mask(amg.coco_encode_rle(code)), mask)


@given(MASKS)
@settings(max_examples=30, deadline=None)
def test_boxes_of_masks(masks: np.ndarray) -> None:
    boxes = amg.batched_mask_to_box(torch.from_numpy(masks))
    assert boxes.shape == (len(masks), 4)
    for mask, box in zip(masks, boxes.tolist(), strict=True):
        y, x = np.nonzero(mask)
        assert box == ([x.min(), y.min(), x.max(), y.max()] if len(x) else [0, 0, 0, 0])
    assert misc.mask_to_box(torch.from_numpy(masks)[:, None]).shape == (len(masks), 1, 4)


def test_corner_and_size() -> None:
    assert amg.box_xyxy_to_xywh(torch.tensor([[1.0, 2, 5, 9]])).tolist() == [[1, 2, 4, 7]]


def test_stability_is_a_ratio_and_undefined_for_an_empty_mask() -> None:
    logits = torch.tensor([[[2.0, 0.0, -2.0]], [[-9.0, -9.0, -9.0]]])
    scores = amg.calculate_stability_score(logits, 0.0, 1.0)
    assert float(scores[0]) == 0.5
    assert bool(scores[1].isnan())


def test_small_regions() -> None:
    mask = np.ones((8, 8), bool)
    mask[2:4, 2:4] = False
    filled, changed = amg.remove_small_regions(mask, 5, "holes")
    assert changed
    assert filled.all()
    assert not amg.remove_small_regions(mask, 4, "holes")[1]  # an area of 4 is not below 4
    dots = np.zeros((8, 8), bool)
    dots[0, 0] = dots[4, 4] = dots[4, 5] = True
    largest, changed = amg.remove_small_regions(dots, 100, "islands")  # all small: the largest stays
    assert changed
    assert np.argwhere(largest).tolist() == [[4, 4], [4, 5]]
    with pytest.raises(ValueError, match="mode"):
        amg.remove_small_regions(mask, 5, "dots")


def test_components_and_their_areas() -> None:
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    mask[..., 0, 0] = mask[..., 1, 1] = mask[..., 3, 3] = True
    labels, areas = misc.get_connected_components(mask)
    assert labels.shape == areas.shape == (1, 1, 4, 4)
    assert areas[0, 0].diagonal().tolist() == [2, 2, 0, 1]
    assert labels[0, 0, 0, 0] == labels[0, 0, 1, 1] != labels[0, 0, 3, 3]
    assert int(labels[0, 0, 0, 1]) == int(areas[0, 0, 0, 1]) == 0


def test_holes_are_filled_on_the_cpu() -> None:
    logits = torch.full((1, 1, 8, 8), 3.0)
    logits[..., 3:5, 3:5] = -1.0
    assert float(misc.fill_holes_in_mask_scores(logits, 4)[0, 0, 3, 3]) == pytest.approx(0.1)
    assert torch.equal(misc.fill_holes_in_mask_scores(logits, 3), logits)
    with pytest.raises(ValueError, match="max_area"):
        misc.fill_holes_in_mask_scores(logits, 0)


def test_points_are_appended() -> None:
    first = misc.concat_points(None, torch.zeros(1, 1, 2), torch.ones(1, 1))
    both = misc.concat_points(first, torch.ones(1, 2, 2), torch.zeros(1, 2))
    assert both["point_coords"][0, :, 0].tolist() == [0, 1, 1]
    assert both["point_labels"].tolist() == [[1, 0, 0]]


def test_position_code_as_a_module() -> None:
    code = PositionEmbeddingSine(8)(torch.zeros(2, 5, 3, 4))
    assert code.shape == (2, 8, 3, 4)
    assert torch.equal(code[:1], sine_position_2d(3, 4, 8, torch.device("cpu")))
    with pytest.raises(ValueError, match="temperature"):
        PositionEmbeddingSine(8, temperature=20)


def test_official_helpers_for_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: SAM2Base) -> None:
    monkeypatch.setenv("SAMPHONY_CACHE", str(tmp_path))
    path = tmp_path / "sam2_hiera_tiny.pt"
    torch.save({"model": tiny_model.state_dict()}, path)
    assert hf_download("facebook/sam2-hiera-tiny") == ("configs/sam2/sam2_hiera_t.yaml", str(path))
    load_checkpoint(tiny_model, path)
    load_checkpoint(tiny_model, None)
