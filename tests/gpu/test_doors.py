"""The doors on a GPU: the official numbers for a photo, and what the processor gives for a video."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from samphony import SAM2AutomaticMaskGenerator, SAM2ImagePredictor, SAM2VideoPredictor, build_sam2
from samphony.predict.build import build_sam2_video_predictor, default_device
from tests.golden.replay import CASES, differences, picture, recorded, run
from tests.golden.weights import fill

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Products in whole float32: TF32 keeps ten bits."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def test_the_gpu_is_the_default() -> None:
    assert default_device().type == "cuda"
    assert SAM2ImagePredictor.from_pretrained("nano").device.type == "cuda"


@pytest.mark.parametrize("model", ["tiny", "2.0-tiny"])
def test_a_click_gives_the_official_numbers(model: str) -> None:
    network = build_sam2(model, device="cuda")
    fill(network, 2 if model.startswith("2.0") else 0)
    got = run(SAM2ImagePredictor(network), CASES["click"]["steps"])
    want = {name: value for name, value in recorded(f"click_{model}").items() if not name.startswith("int/")}
    assert not differences(want, got)


def _frames(count: int) -> np.ndarray:
    """A bright disc over noise: it moves to the right."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:180, :240]
    frames = rng.integers(0, 90, (count, 180, 240, 3), dtype=np.uint8)
    for t, frame in enumerate(frames):
        frame[(y - 90) ** 2 + (x - 60 - 6 * t) ** 2 < 30**2] = (220, 180, 60)
    return frames


def _track(device: str, **options: bool) -> list[np.ndarray]:
    door: SAM2VideoPredictor = build_sam2_video_predictor("nano", device=device)
    state = door.init_state(_frames(6), **options)
    door.add_new_points_or_box(state, 0, 1, points=[[60, 90]], labels=[1])
    door.add_new_points_or_box(state, 0, 2, box=[10, 10, 100, 60])
    return [masks.float().cpu().numpy() for _, _, masks in door.propagate_in_video(state)]


@pytest.mark.parametrize("offload", [False, True])
def test_a_video_gives_what_the_processor_gives(offload: bool) -> None:
    expected = _track("cpu")
    found = _track("cuda", offload_video_to_cpu=offload, offload_state_to_cpu=offload)
    for want, got in zip(expected, found, strict=True):
        assert np.abs(want - got).max() <= 0.05
        assert ((want > 0) != (got > 0)).mean() <= 2e-3


def test_a_video_runs_in_bfloat16() -> None:
    with torch.autocast("cuda", torch.bfloat16):
        found = _track("cuda")
    expected = _track("cpu")
    assert np.mean([((want > 0) != (got > 0)).mean() for want, got in zip(expected, found, strict=True)]) <= 0.02


def test_masks_of_everything() -> None:
    photo = picture("coffee.jpg")[::2, ::2]
    found, expected = (
        SAM2AutomaticMaskGenerator(
            build_sam2("nano", device=device), points_per_side=8, pred_iou_thresh=0.5, stability_score_thresh=0.7
        ).generate(photo)
        for device in ("cuda", "cpu")
    )
    assert len(expected) > 0
    assert abs(len(found) - len(expected)) <= 1
