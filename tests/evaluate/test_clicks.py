"""The click protocol, against segmenters whose answers are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from samphony.evaluate.clicks import evaluate_picture, mean_of, next_click, tight_box
from samphony.evaluate.segmenter import Answer, DoorSegmenter, ModelSegmenter
from samphony.model.base import SAM2Base

IMAGE = np.zeros((40, 60, 3), dtype=np.uint8)


def _labels() -> NDArray[np.uint8]:
    labels = np.zeros((40, 60), dtype=np.uint8)
    labels[5:25, 5:25] = 1
    labels[10:30, 40:55] = 2
    labels[0:2] = 255
    return labels


class Known:
    """Gives the true object under the first click, or in the box, eroded on the right until enough clicks came."""

    def __init__(self, labels: NDArray[np.uint8], clicks_needed: int = 1) -> None:
        self.labels, self.needed = labels, clicks_needed
        self.calls: list[tuple[Tensor, Tensor, Tensor | None, bool]] = []

    def set_image(self, image: NDArray[np.uint8]) -> None:
        assert image is IMAGE

    def answer(self, coords: Tensor, labels: Tensor, previous: Tensor | None, several: bool) -> Answer:
        self.calls.append((coords, labels, previous, several))
        logits = []
        for points, signs in zip(coords, labels, strict=True):
            x, y = points[0].tolist() if int(signs[0]) == 1 else points.mean(dim=0).tolist()
            mask = torch.from_numpy(self.labels == self.labels[int(y), int(x)]).float()
            if len(points) < self.needed:
                mask[:, int(x) + 1 :] = 0
            logits.append(mask * 2 - 1)
        one = torch.stack(logits)[:, None]
        if not several:
            return Answer(one, torch.full((len(one), 1), 0.75), one)
        three = torch.cat((-torch.ones_like(one), one, torch.ones_like(one)), dim=1)
        return Answer(three, torch.tensor([[0.1, 0.9, 0.2]]).expand(len(one), -1), three)


def test_a_perfect_segmenter_is_perfect_and_asked_as_the_protocol_says() -> None:
    known = Known(_labels())
    results = evaluate_picture(known, IMAGE, _labels(), [1, 2], "n", "instances", "s", clicks=3)
    for result in results:
        assert result.clicks == (1.0, 1.0, 1.0)
        assert (result.box, result.oracle) == (1.0, 1.0)
        assert result.box_f == 1.0
        assert result.iou_error == pytest.approx((0.1 + 0.25) / 2)
    assert [r.object_id for r in results] == [1, 2]
    assert results[0].area == pytest.approx(400 / 2400)
    box, first, second, third = known.calls
    assert box[1].tolist() == [[2, 3], [2, 3]]
    assert box[0][0].tolist() == [[5, 5], [24, 24]]
    assert [call[3] for call in known.calls] == [False, True, False, False], "three masks for the first click alone"
    assert first[2] is None
    assert second[2] is not None
    assert third[0].shape == (2, 3, 2)
    assert first[1].tolist() == [[1], [1]]
    assert third[1][:, 1:].tolist() == [[0, 0], [0, 0]], "without an error the background is clicked"


def test_further_clicks_repair_the_answer() -> None:
    results = evaluate_picture(Known(_labels(), clicks_needed=2), IMAGE, _labels(), [1], clicks=3)
    first, second, third = results[0].clicks
    assert 0.4 < first < 0.7
    assert (second, third) == (1.0, 1.0)


def test_clicks_go_to_the_centre_of_the_largest_error() -> None:
    truth = np.zeros((21, 21), dtype=bool)
    truth[3:18, 3:18] = True
    assert next_click(np.zeros_like(truth), truth) == (10.0, 10.0, 1)
    missed_corner = truth.copy()
    missed_corner[3:8, 3:8] = False
    assert next_click(missed_corner, truth) == (5.0, 5.0, 1)
    too_much = truth.copy()
    too_much[3:18, 18:21] = True
    assert next_click(too_much, truth)[2] == 0


def test_errors_in_void_pixels_are_not_clicked() -> None:
    truth = np.zeros((20, 20), dtype=bool)
    truth[2:18, 2:18] = True
    void = np.zeros_like(truth)
    void[:, 10:] = True
    x, _, sign = next_click(np.zeros_like(truth), truth, void)
    assert x < 10
    assert sign == 1


def test_means() -> None:
    results = evaluate_picture(Known(_labels(), 2), IMAGE, _labels(), [1, 2], clicks=2)
    assert mean_of(results, "click1") == pytest.approx(np.mean([r.clicks[0] for r in results]))
    assert mean_of(results, "f2") == 1.0
    assert mean_of(results, "box") == pytest.approx(np.mean([r.box for r in results]))
    assert np.isnan(mean_of([], "box"))


def test_contours_can_be_left_out() -> None:
    result = evaluate_picture(Known(_labels()), IMAGE, _labels(), [1], clicks=1, contours=False)[0]
    assert result.clicks == (1.0,)
    assert np.isnan(result.box_f)


def test_a_model_answers_at_the_size_of_the_picture(
    fresh_tiny_model: Callable[..., SAM2Base], photo: NDArray[np.uint8]
) -> None:
    segmenter = ModelSegmenter(fresh_tiny_model())
    segmenter.set_image(photo)
    coords = torch.tensor([[[40.0, 24.0]], [[2.0, 2.0]], [[70.0, 40.0]]])
    answer = segmenter.answer(coords, torch.ones(3, 1, dtype=torch.int32), None, several=True)
    assert answer.logits.shape == (3, 3, 48, 80)
    assert answer.low_res.shape == (3, 3, 16, 16)
    logits, ious, low_res = answer.best()
    assert torch.equal(ious, answer.ious.amax(dim=1))
    assert logits.shape == (3, 48, 80)
    again = segmenter.answer(coords, torch.ones(3, 1, dtype=torch.int32), low_res, several=False)
    assert again.logits.shape == (3, 1, 48, 80)
    corners = tight_box(np.ones((48, 80), dtype=bool))[None]
    assert segmenter.answer(corners, torch.tensor([[2, 3]]), None, several=False).ious.shape == (1, 1)


def test_a_model_answers_as_the_image_predictor_does(
    fresh_tiny_model: Callable[..., SAM2Base], photo: NDArray[np.uint8]
) -> None:
    from samphony.predict.image import SAM2ImagePredictor

    model = fresh_tiny_model()
    segmenter, predictor = ModelSegmenter(model), SAM2ImagePredictor(model)
    through_door = DoorSegmenter(SAM2ImagePredictor(model))
    segmenter.set_image(photo)
    through_door.set_image(photo)
    predictor.set_image(photo)
    coords, labels = torch.tensor([[[40.0, 24.0], [5.0, 5.0]]]), torch.tensor([[1, 0]], dtype=torch.int32)
    for several in (True, False):
        answer = segmenter.answer(coords, labels, None, several)
        logits, ious, low_res = predictor.predict(
            coords[0].numpy(), labels[0].numpy(), multimask_output=several, return_logits=True
        )
        np.testing.assert_allclose(answer.logits[0].numpy(), logits, atol=1e-4)
        np.testing.assert_allclose(answer.ious[0].numpy(), ious, atol=1e-5)
        np.testing.assert_allclose(answer.low_res[0].clamp(-32, 32).numpy(), low_res, atol=1e-4)
        same = through_door.answer(coords, labels, None, several)
        np.testing.assert_array_equal(same.logits[0].numpy(), logits)
        np.testing.assert_array_equal(same.ious[0].numpy(), ious)
        both = through_door.answer(coords.repeat(2, 1, 1), labels.repeat(2, 1), same.best()[2].repeat(2, 1, 1), several)
        assert both.logits.shape == (2, *answer.logits.shape[1:])
