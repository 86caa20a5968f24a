"""The columns and crops that mask generators written over sam2.utils.amg pass around."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from samphony.compat import amg
from samphony.compat.mask_data import MaskData, batch_iterator


def columns() -> MaskData:
    return MaskData(a=torch.arange(4), b=np.arange(4) * 2, c=list("wxyz"), d=None)


@pytest.mark.parametrize("keep", [torch.tensor([True, False, False, True]), torch.tensor([0, 3])])
def test_filter_by_boolean_and_by_index(keep: torch.Tensor) -> None:
    data = columns()
    data.filter(keep)
    assert data["a"].tolist() == [0, 3]
    assert data["b"].tolist() == [0, 6]
    assert data["c"] == ["w", "z"]
    assert data["d"] is None


def test_columns_are_appended_and_made_arrays() -> None:
    data, more = MaskData(), columns()
    data.cat(more)
    data.cat(columns())
    more["c"][0] = "changed"
    assert data["c"] == list("wxyzwxyz")
    data.to_numpy()
    assert data["a"].dtype == np.float32
    assert len(data["a"]) == len(data["b"]) == 8
    del data["b"]
    assert sorted(name for name, _ in data.items()) == ["a", "c", "d"]
    with pytest.raises(TypeError, match="c must be a list"):
        data["c"] = "wxyz"


def test_rows_in_batches() -> None:
    assert list(batch_iterator(2, [1, 2, 3], "abc")) == [[[1, 2], "ab"], [[3], "c"]]
    with pytest.raises(ValueError, match="equal length"):
        list(batch_iterator(2, [1, 2], [1]))


def test_crops_and_the_way_back() -> None:
    boxes, layers = amg.generate_crop_boxes((100, 200), 1, 0.25)
    assert boxes[0] == [0, 0, 200, 100]
    assert layers == [0, 1, 1, 1, 1]
    crop = [90, 40, 200, 100]
    inner = torch.tensor([[0, 30, 50, 60], [30, 30, 50, 40], [30, 0, 50, 40]])
    # The picture's own edges below and to the right do not cut anything off.
    assert amg.is_box_near_crop_edge(inner, crop, [0, 0, 200, 100]).tolist() == [True, False, True]
    assert amg.uncrop_boxes_xyxy(inner, crop)[0].tolist() == [90, 70, 140, 100]
    assert amg.uncrop_points(torch.tensor([[1.0, 2.0]]), crop).tolist() == [[91.0, 42.0]]
    mask = amg.uncrop_masks(torch.ones(2, 60, 110, dtype=torch.bool), crop, 100, 200)
    assert mask.shape == (2, 100, 200)
    assert mask.sum() == 2 * 60 * 110
    assert mask[:, 40:, 90:].all()


def test_corner_and_size_of_arrays() -> None:
    boxes = np.array([[1.0, 2, 5, 9]])
    assert amg.box_xyxy_to_xywh(boxes).tolist() == [[1, 2, 4, 7]]
    assert boxes.tolist() == [[1, 2, 5, 9]]
