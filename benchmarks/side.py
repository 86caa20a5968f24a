"""One side of a paired benchmark: runs tasks on the official package, or on samphony under the official's names.

Both sides run this very file, in a process and an environment of their own; the difference is the one added line that a
user would add. Talks JSON lines: {"task": …} prepares, {"run": true} runs once and answers with seconds.

    python benchmarks/side.py official|samphony
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

Run = Callable[[], None]
CONFIG = "configs/sam2.1/sam2.1_hiera_t.yaml"


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth coloured blobs: (H,W,3) uint8."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    return np.array(small.resize((width, height), Image.Resampling.BICUBIC))


def seed_weights(model: Any) -> None:
    """The same parameters on both sides, which have the same names and shapes."""
    net = getattr(model, "model", model)
    state = net.state_dict()
    for index, key in enumerate(sorted(state)):
        value = state[key]
        generator = torch.Generator().manual_seed(index)
        if "norm" in key and key.endswith("weight"):
            state[key] = torch.ones_like(value)
        else:
            state[key] = torch.randn(value.shape, generator=generator) * max(value[0].numel(), 1) ** -0.5
    net.load_state_dict(state)


def image_model(device: str) -> Any:
    from sam2.build_sam import build_sam2

    model = build_sam2(CONFIG, None, device=device)
    seed_weights(model)
    return model


def encode(options: dict[str, Any]) -> Run:
    """The image encoder and its reductions on one picture of 1024 × 1024."""
    model = image_model(options["device"])
    x = torch.randn(1, 3, 1024, 1024, generator=torch.Generator().manual_seed(0)).to(options["device"])

    def run() -> None:
        with torch.inference_mode():
            model.forward_image(x)

    return run


def click(options: dict[str, Any]) -> Run:
    """``predict`` with one click, or several boxes, on an encoded photo of 800 × 1200."""
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    predictor = SAM2ImagePredictor(image_model(options["device"]))
    predictor.set_image(picture(800, 1200))
    n = options.get("boxes", 0)
    if n:
        corner = np.linspace(10, 300, n)
        prompt: dict[str, Any] = {"box": np.stack([corner, corner, corner + 400, corner + 300], 1)}
    else:
        prompt = {"point_coords": np.array([[600, 400]]), "point_labels": np.array([1])}
    return lambda: predictor.predict(**prompt) and None


def track(options: dict[str, Any]) -> Run:
    """One more frame of a video, all memories full."""
    from sam2.build_sam import build_sam2_video_predictor

    size = options.get("size", 1024)
    changes = [f"++model.image_size={size}"]
    predictor = build_sam2_video_predictor(CONFIG, None, options["device"], hydra_overrides_extra=changes)
    seed_weights(predictor)
    folder = Path(tempfile.mkdtemp())
    first, frames = 7, 7 + options.get("rounds", 3) + 1
    for i in range(frames):
        Image.fromarray(picture(270, 480, seed=i)).save(folder / f"{i:05d}.jpg")
    state = predictor.init_state(str(folder))
    for obj in range(options.get("objects", 1)):
        predictor.add_new_points_or_box(state, 0, obj, np.array([[60.0 + 40 * obj, 130.0]]), np.array([1]))
    stream: Iterator[Any] = predictor.propagate_in_video(state)
    for _ in range(first):
        next(stream)
    return lambda: next(stream) and None


def automatic(options: dict[str, Any]) -> Run:
    """``generate`` on a photo of 600 × 900; thresholds let a part of the masks of random weights through."""
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

    generator = SAM2AutomaticMaskGenerator(
        image_model(options["device"]),
        points_per_side=options.get("side", 16),
        pred_iou_thresh=0.3,
        stability_score_thresh=0.3,
    )
    photo = picture(600, 900)
    if options.get("encoder", True):
        return lambda: generator.generate(photo) and None
    generator.predictor.set_image(photo)
    generator.predictor.set_image = lambda *_, **__: None
    generator.predictor.reset_predictor = lambda: None
    return lambda: generator.generate(photo) and None


TASKS: dict[str, Callable[[dict[str, Any]], Run]] = {
    "encode": encode,
    "click": click,
    "track": track,
    "automatic": automatic,
}


def peak_mib() -> float:
    """Most memory so far: of the GPU where one is used, else of the process."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Answer requests until the input ends."""
    warnings.filterwarnings("ignore")
    if sys.argv[1] == "samphony":
        import samphony

        samphony.install_as_sam2()
    answers = sys.stdout
    sys.stdout = sys.stderr  # what packages print must not disturb the answers
    run: Run = lambda: None  # noqa: E731
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any] = {}
        if "threads" in request:
            torch.set_num_threads(request["threads"])
        if "task" in request:
            run = TASKS[request["task"]](request.get("options", {}))
        if request.get("run"):
            start = time.perf_counter()
            run()
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            answer["seconds"] = time.perf_counter() - start
        answer["peak_mib"] = peak_mib()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
