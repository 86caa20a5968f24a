"""The user that training plays: clicks in the error, boxes around the object."""

from __future__ import annotations

import torch

from samphony.train.prompts import boxes, click, depth, first_prompts

H = 16


def _region(y0: int, y1: int, x0: int, x1: int) -> torch.Tensor:
    region = torch.zeros(1, H, H, dtype=torch.bool)
    region[:, y0:y1, x0:x1] = True
    return region


def _noise(n: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, H, H, generator=torch.Generator().manual_seed(seed))


def _cells(coords: torch.Tensor) -> tuple[int, int]:
    x, y = coords[0, 0].tolist()
    return int(y // 4), int(x // 4)


NONE = torch.zeros(1, H, H, dtype=torch.bool)
CENTRE, ANYWHERE = torch.tensor([True]), torch.tensor([False])


def test_depth_is_largest_in_the_middle_and_zero_outside() -> None:
    d = depth(_region(2, 14, 2, 14)[:, None])[0, 0]
    assert float(d[8, 8]) == float(d.max()) == 3
    assert float(d[2, 2]) == 1
    assert float(d[0, 0]) == 0


def test_the_rim_of_the_picture_is_a_rim() -> None:
    d = depth(torch.ones(1, 1, H, H, dtype=torch.bool))[0, 0]
    assert float(d[0, 0]) == 1
    assert float(d[8, 8]) == 4


def test_a_click_in_the_centre() -> None:
    prompts = click(_region(2, 14, 2, 14), NONE, _noise(), CENTRE)
    y, x = _cells(prompts.coords)
    assert 6 <= y <= 9
    assert 6 <= x <= 9
    assert prompts.labels.tolist() == [[1]]


def test_the_larger_error_is_clicked_with_its_sign() -> None:
    missed, extra = _region(0, 4, 0, 4), _region(4, 16, 4, 16)
    prompts = click(missed, extra, _noise(), CENTRE)
    y, x = _cells(prompts.coords)
    assert prompts.labels.tolist() == [[0]]
    assert bool(extra[0, y, x])


def test_clicks_anywhere_reach_every_cell_of_the_error_and_no_other() -> None:
    region = _region(5, 7, 5, 8)
    seen = {_cells(click(region, NONE, _noise(seed=s), ANYWHERE).coords) for s in range(100)}
    assert seen == {(y, x) for y in (5, 6) for x in (5, 6, 7)}


def test_without_an_error_the_click_is_padding() -> None:
    assert click(NONE, NONE, _noise(), CENTRE).labels.tolist() == [[-1]]


def test_boxes_are_tight_without_noise_and_loose_with_it() -> None:
    masks = torch.zeros(1, 64, 64, dtype=torch.bool)
    masks[0, 10:30, 20:50] = True
    tight = boxes(masks, torch.full((1, 4), 0.5), 0.1)
    assert tight.coords.tolist() == [[[20, 10], [50, 30]]]
    assert tight.labels.tolist() == [[2, 3]]
    loose = boxes(masks, torch.tensor([[0.0, 1.0, 1.0, 0.0]]), 0.02)
    torch.testing.assert_close(loose.coords, torch.tensor([[[19.4, 10.4], [50.6, 29.6]]]))


def test_first_prompts_are_boxes_or_padded_clicks() -> None:
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[:, 8:40, 8:40] = True
    target = torch.nn.functional.avg_pool2d(masks.float()[:, None], 4)[:, 0]
    prompts = first_prompts(
        masks, target, _noise(2), torch.tensor([True, False]), torch.tensor([False, False]), share=0.0
    )
    assert prompts.labels.tolist() == [[2, 3], [1, -1]]
    assert prompts.coords[0].tolist() == [[8, 8], [40, 40]]
    x, y = (int(v) for v in prompts.coords[1, 0])
    assert bool(masks[1, y, x])


def test_an_object_thinner_than_half_a_cell_is_still_clicked() -> None:
    masks = torch.zeros(1, 64, 64, dtype=torch.bool)
    masks[0, 33, 10:50] = True
    target = torch.nn.functional.avg_pool2d(masks.float()[:, None], 4)[:, 0]
    prompts = first_prompts(masks, target, _noise(), ANYWHERE, ANYWHERE, share=0.0)
    assert prompts.labels[0, 0] == 1
    assert _cells(prompts.coords)[0] == 33 // 4
