"""Short videos at 128 pixels, played through the official methods.

``python -m tests.golden.video_cases OUT`` records the answers of whatever package stands behind ``sam2``; what is
stored in ``tests/data`` comes from the official one (1.1.0, CPU, float32).
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Answers = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class VideoCase:
    """A model, overrides, the length of the clip and calls: (method, arguments)."""

    config: str
    frames: int
    calls: tuple[tuple[str, dict[str, Any]], ...]
    overrides: tuple[str, ...] = ()
    shift: dict[str, float] = field(default_factory=dict)


def _click(frame: int, obj: int, x: float, y: float, label: int = 1) -> tuple[str, dict[str, Any]]:
    return "points", {"frame_idx": frame, "obj_id": obj, "points": [[x, y]], "labels": [label]}


def _box(frame: int, obj: int, *box: float) -> tuple[str, dict[str, Any]]:
    return "points", {"frame_idx": frame, "obj_id": obj, "box": list(box)}


def _track(**arguments: Any) -> tuple[str, dict[str, Any]]:
    return "track", arguments


_SCORE = "sam_mask_decoder.pred_obj_score_head.layers.2.bias"
_V21, _V20 = "configs/sam2.1/sam2.1_hiera_t.yaml", "configs/sam2/sam2_hiera_t.yaml"

CASES = {
    "correct": VideoCase(
        _V21,
        18,
        (
            _click(0, 1, 30, 24),
            _box(0, 2, 50, 10, 80, 40),
            _track(),
            _click(7, 1, 60, 40, 0),
            _track(start_frame_idx=8, max_frame_num_to_track=2),
            _track(start_frame_idx=5, reverse=True),
        ),
    ),
    "occluded": VideoCase(_V21, 6, (_click(0, 1, 30, 24), _track()), shift={_SCORE: -9.0}),
    "first version": VideoCase(_V20, 6, (_click(0, 1, 30, 24), _track()), shift={_SCORE: -9.0}),
    "mask": VideoCase(
        _V21,
        4,
        (
            ("mask", {"frame_idx": 1, "obj_id": 3, "mask": [20, 10, 60, 40]}),
            ("mask", {"frame_idx": 1, "obj_id": 4, "mask": [0, 0, 0, 0]}),
            _track(),
        ),
    ),
    "options": VideoCase(
        _V21,
        14,
        (_click(0, 1, 30, 24), _click(5, 1, 40, 30), _click(9, 1, 50, 30), _track(start_frame_idx=4)),
        ("++model.max_cond_frames_in_attn=2", "++model.memory_temporal_stride_for_eval=2"),
    ),
}


def picture(t: int, height: int = 72, width: int = 96) -> npt.NDArray[np.uint8]:
    """A woven ground, a disc and a rectangle that move; integers only."""
    y, x = np.mgrid[0:height, 0:width]
    frame = np.stack([(x * 5 + y * 3) % 120, (x * y // 7) % 110, (x + 2 * y) % 90], axis=-1)
    frame[(x - 28 - 2 * t) ** 2 + (y - 24 - t) ** 2 < 160] = (220, 120, 60)
    frame[(abs(x - 66 + t) < 12) & (abs(y - 26) < 14)] = (70, 200, 210)
    return frame.astype(np.uint8)


def write_clip(folder: Path, frames: int) -> None:
    """The clip as a folder that the official loader takes: PNG data, so lossless, under JPEG names."""
    for t in range(frames):
        with (folder / f"{t:05d}.jpg").open("wb") as file:
            Image.fromarray(picture(t)).save(file, format="PNG")


def play(predictor: Any, case: VideoCase) -> Answers:
    """Make the calls of a case; logits at every fourth pixel, by call and frame."""
    answers: Answers = {}

    def keep(call: int, frame: int, logits: Any) -> None:
        answers[f"{call}/{frame}"] = logits[:, 0, ::4, ::4].float().numpy()

    with tempfile.TemporaryDirectory() as folder:
        write_clip(Path(folder), case.frames)
        state = predictor.init_state(folder)
        for number, (method, arguments) in enumerate(case.calls):
            if method == "track":
                for frame, _, logits in predictor.propagate_in_video(state, **arguments):
                    keep(number, frame, logits)
            elif method == "mask":
                x0, y0, x1, y1 = arguments["mask"]
                mask = np.zeros((72, 96), bool)
                mask[y0:y1, x0:x1] = True
                frame, _, logits = predictor.add_new_mask(state, **{**arguments, "mask": mask})
                keep(number, frame, logits)
            else:
                frame, _, logits = predictor.add_new_points_or_box(state, **arguments)
                keep(number, frame, logits)
    return answers


def build(package: str, case: VideoCase) -> Any:
    """The predictor of a package, with the weights of ``tests.golden.weights``."""
    import importlib

    from tests.golden.weights import fill

    builder = importlib.import_module(package).build_sam2_video_predictor
    overrides = ["++model.image_size=128", *case.overrides]
    predictor = builder(case.config, None, device="cpu", hydra_overrides_extra=overrides)
    fill(predictor, shift=case.shift)
    return predictor.eval()


if __name__ == "__main__":
    stored = {
        f"{name}/{key}": value.astype(np.float32)
        for name, case in CASES.items()
        for key, value in play(build("sam2.build_sam", case), case).items()
    }
    np.savez_compressed(sys.argv[1], **stored)  # type: ignore[arg-type]
