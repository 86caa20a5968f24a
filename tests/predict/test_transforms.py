"""From photo to input and from logits to photo."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from samphony.predict.transforms import IMAGE_MEAN, IMAGE_STD, SAM2Transforms


def normalised(x: torch.Tensor) -> torch.Tensor:
    return (x - torch.tensor(IMAGE_MEAN)[:, None, None]) / torch.tensor(IMAGE_STD)[:, None, None]


def test_a_picture_of_the_right_size_is_only_normalised(photo: np.ndarray) -> None:
    square = photo[:48, :48]
    got = SAM2Transforms(48)(square)
    assert got.shape == (3, 48, 48)
    assert got.dtype == torch.float32
    assert torch.allclose(got, normalised(torch.from_numpy(square).permute(2, 0, 1) / 255), atol=1e-6)


def test_resized_as_floats_with_antialias_and_without_keeping_the_aspect_ratio(photo: np.ndarray) -> None:
    floats = torch.from_numpy(photo).permute(2, 0, 1)[None] / 255
    wanted = torch.nn.functional.interpolate(floats, (16, 16), mode="bilinear", align_corners=False, antialias=True)
    plain = torch.nn.functional.interpolate(floats, (16, 16), mode="bilinear", align_corners=False)
    got = SAM2Transforms(16)(photo)
    assert torch.allclose(got, normalised(wanted[0]), atol=1e-6)
    assert not torch.allclose(got, normalised(plain[0]), atol=1e-2)


def test_floats_are_taken_as_they_are(photo: np.ndarray) -> None:
    transforms = SAM2Transforms(32)
    assert torch.allclose(transforms(photo), transforms(photo.astype(np.float32) / np.float32(255)), atol=1e-6)


def test_the_photo_is_left_alone(photo: np.ndarray) -> None:
    floats = photo.astype(np.float32) / 255
    before = floats.copy(), photo.copy()
    transforms = SAM2Transforms(48)
    transforms(floats[:48, :48])
    transforms(floats)
    transforms(photo)
    assert np.array_equal(floats, before[0])
    assert np.array_equal(photo, before[1])


def test_a_picture_that_cannot_be_written_is_read(photo: np.ndarray) -> None:
    locked = photo.copy()
    locked.flags.writeable = False  # as np.asarray of a Pillow image gives it
    torch.testing.assert_close(SAM2Transforms(64)(locked), SAM2Transforms(64)(photo), rtol=0, atol=0)


def test_a_batch_of_pictures(photo: np.ndarray) -> None:
    transforms = SAM2Transforms(32)
    batch = transforms.forward_batch([photo, photo[:20, :30]])
    assert batch.shape == (2, 3, 32, 32)
    assert torch.equal(batch[1], transforms(photo[:20, :30]))


def test_coordinates() -> None:
    transforms = SAM2Transforms(64)
    points = torch.tensor([[[20.0, 12.0]]])
    assert transforms.transform_coords(points, normalize=True, orig_hw=(48, 80)).tolist() == [[[16.0, 16.0]]]
    assert transforms.transform_coords(points / 100).tolist() == [[[pytest.approx(12.8), pytest.approx(7.68)]]]
    assert points.tolist() == [[[20.0, 12.0]]]
    with pytest.raises(ValueError, match="orig_hw"):
        transforms.transform_coords(points, normalize=True)


def test_boxes_become_corners() -> None:
    boxes = torch.tensor([[0.0, 0.0, 80.0, 48.0], [20.0, 12.0, 40.0, 24.0]])
    corners = SAM2Transforms(64).transform_boxes(boxes, normalize=True, orig_hw=(48, 80))
    assert corners.tolist() == [[[0, 0], [64, 64]], [[16, 16], [32, 32]]]


def test_masks_are_enlarged_in_one_step() -> None:
    logits = torch.randn(2, 3, 16, 16)
    got = SAM2Transforms(64).postprocess_masks(logits, (48, 80))
    wanted = torch.nn.functional.interpolate(logits, (48, 80), mode="bilinear", align_corners=False)
    assert torch.equal(got, wanted)
    assert SAM2Transforms(64).postprocess_masks(logits.bfloat16(), (48, 80)).dtype == torch.float32


def example() -> torch.Tensor:
    """A square with a hole of 4, a diagonal sprinkle of 2 and one of 1."""
    logits = torch.full((1, 2, 16, 16), -3.0)
    logits[:, :, 2:10, 2:10] = 3.0
    logits[:, :, 4:6, 4:6] = -1.0
    logits[:, 1, 12, 12] = logits[:, 1, 13, 13] = 2.0
    logits[:, 1, 12, 3] = 2.0
    return logits


@pytest.mark.parametrize(("hole", "sprinkle"), [(0, 0), (3, 0), (4, 0), (0, 1), (0, 2), (4, 2), (300, 300)])
def test_small_components_are_cleaned_up_to_and_including_the_area(hole: int, sprinkle: int) -> None:
    logits, transforms = example(), SAM2Transforms(64, 0.0, hole, sprinkle)
    got = transforms.clean(logits)
    wanted = logits.clone()
    if hole >= 4:
        wanted[:, :, 4:6, 4:6] = 10.0
    if hole >= 300:
        wanted[wanted < 0] = 10.0  # the ground is a component too
    if sprinkle >= 1:
        wanted[:, 1, 12, 3] = -10.0
    if sprinkle >= 2:
        wanted[:, 1, 12, 12] = wanted[:, 1, 13, 13] = -10.0
    if sprinkle >= 300:
        wanted[logits > 0] = -10.0
    assert torch.equal(got, wanted)
    assert torch.equal(logits, example())


def test_the_threshold_decides_what_is_a_hole() -> None:
    logits = torch.full((1, 1, 16, 16), 5.0)
    logits[..., 4, 4] = 1.0
    assert torch.equal(SAM2Transforms(64, 0.0, 4, 0).clean(logits), logits)
    assert float(SAM2Transforms(64, 1.5, 4, 0).clean(logits)[0, 0, 4, 4]) == 11.5
