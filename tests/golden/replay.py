"""Replays the recorded calls on a predictor and compares with what the official package gave."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from samphony import SAM2ImagePredictor, build_sam2
from tests.golden.weights import fill

DATA = Path(__file__).parent / "data"
CASES: dict[str, Any] = json.loads((Path(__file__).parent / "image_cases.json").read_text())
Arrays = dict[str, npt.NDArray[Any]]
Step = dict[str, Any]

SIGNS = 2e-4
"""Share of mask pixels that may differ."""


def predictor(model: str, seed: int = 0, **options: Any) -> SAM2ImagePredictor:
    """A predictor with golden weights, on the CPU."""
    network = build_sam2(model, device="cpu", **options)
    fill(network, seed)
    return SAM2ImagePredictor(network)


def picture(spec: Any) -> Any:
    """A photo as a case names it: a file, or a file and what it is to be given as."""
    file, kind = (spec, "numpy") if isinstance(spec, str) else (spec["file"], spec["as"])
    image = Image.open(DATA / file).convert("RGB")
    if kind == "pil":
        return image
    if kind == "grey3":
        return np.repeat(np.asarray(image.convert("L"))[:, :, None], 3, axis=2)
    if kind == "float01":
        return np.asarray(image).astype(np.float32) / np.float32(255)
    assert kind == "numpy", kind
    return np.array(image)


def run(predictor: SAM2ImagePredictor, steps: Sequence[Step], into: Arrays | None = None) -> Arrays:
    """Do the steps; what they gave, thinned out as it was recorded."""
    got: Arrays = {} if into is None else into
    logits: dict[str, npt.NDArray[np.float32]] = {}
    for step in steps:
        if step["do"] == "set_image":
            predictor.set_image(picture(step["image"]))
        elif step["do"] == "set_image_batch":
            predictor.set_image_batch([picture(spec) for spec in step["images"]])
        elif step["do"] == "predict":
            masks, ious, low = predictor.predict(**_arguments(step["args"], logits))
            logits[step["name"]] = low
            _keep(got, step["name"], masks, ious, low, step["args"].get("return_logits", False))
        elif step["do"] == "predict_batch":
            results = predictor.predict_batch(**step["args"])
            for i, (masks, ious, low) in enumerate(zip(*results, strict=True)):
                _keep(got, f"{step['name']}/image{i}", masks, ious, low, False)
        else:
            raise AssertionError(step)
    return got


def internals(predictor: SAM2ImagePredictor, photo: Any) -> Arrays:
    """The features of the photo that is set, and what they were made from."""
    x = predictor._transforms(photo)
    encoder = predictor.model.image_encoder
    with torch.inference_mode():
        trunk = encoder.trunk(x[None])
        levels, _ = encoder.neck(trunk)
    fine, middle = predictor._features["high_res_feats"]
    step = (16, 16, 8, 8)
    got = {
        "int/input": x[:, ::32, ::32],
        "int/image_embed": predictor._features["image_embed"][:, ::8, ::4, ::4],
        "int/high_res_0": fine[:, ::4, ::16, ::16],
        "int/high_res_1": middle[:, ::4, ::16, ::16],
        **{f"int/trunk_{i}": t[:, ::12, :: step[i], :: step[i]] for i, t in enumerate(trunk)},
        **{f"int/fpn_{i}": t[:, ::8, :: step[i], :: step[i]] for i, t in enumerate(levels[:3])},
    }
    return {name: value.numpy() for name, value in got.items()}


def recorded(name: str) -> Arrays:
    """What the official package gave."""
    with np.load(DATA / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def differences(want: Mapping[str, npt.NDArray[Any]], got: Mapping[str, npt.NDArray[Any]]) -> list[str]:
    """What is beyond the limits, in words; empty when all is well."""
    found = []
    for key, reference in want.items():
        if key not in got:
            found.append(f"{key}: missing")
        elif got[key].shape != reference.shape:
            found.append(f"{key}: shape {got[key].shape} instead of {reference.shape}")
        elif key.endswith("/masks"):
            share = float(np.unpackbits(reference ^ got[key]).mean())
            if share > SIGNS:
                found.append(f"{key}: {share:.1e} of the pixels differ")
        elif key.endswith("/shape"):
            if not np.array_equal(reference, got[key]):
                found.append(f"{key}: {got[key]} instead of {reference}")
        else:
            error = float(np.abs(reference.astype(np.float64) - got[key]).max())
            strict = key.startswith("int/") or key.endswith("/iou")
            largest = float(np.abs(reference).max())
            limit = 5e-5 + 1e-5 * largest if strict else 2e-4 + 1e-4 * largest
            if not error <= limit:
                found.append(f"{key}: off by {error:.1e}, limit {limit:.1e}")
    return found


def _arguments(args: Step, logits: Mapping[str, npt.NDArray[np.float32]]) -> Step:
    args = dict(args)
    if "mask_input" in args:  # an earlier answer's logits
        args["mask_input"] = logits[args["mask_input"]["from"]][tuple(args["mask_input"]["pick"])]
    return args


def _keep(got: Arrays, name: str, masks: Any, ious: Any, low: Any, are_logits: bool) -> None:
    got[f"{name}/iou"] = ious
    got[f"{name}/low"] = low[..., ::8, ::8]
    got[f"{name}/masks"] = np.packbits(masks[..., ::4, ::4] > (0 if are_logits else 0.5))
    got[f"{name}/masks/shape"] = np.array(masks.shape)
    if are_logits:
        got[f"{name}/logits"] = masks[..., ::32, ::32]
