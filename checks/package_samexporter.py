"""samexporter's wrappers and exports on samphony; run by ``packages.py``, which says what is tried."""

# ruff: noqa: E402 - samphony stands in for sam2 before anything imports it

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torch.onnx.utils

import samphony

samphony.install_as_sam2()

from sam2.sam2_image_predictor import SAM2ImagePredictor
from samexporter.export_sam2 import SAM2ImageDecoder, SAM2ImageEncoder

from samphony.model.build import build_model
from samphony.model.config import MODELS

FOLDER = Path(os.environ["CHECK_FOLDER"])
QUICK = os.environ.get("CHECK_QUICK") == "1"
SIZE = 256  # to be quick; the command, below, exports at 1024
INPUTS = (
    "image_embed",
    "high_res_feats_0",
    "high_res_feats_1",
    "point_coords",
    "point_labels",
    "mask_input",
    "has_mask_input",
)


def close(got: object, want: object, what: str, limit: float = 1e-4) -> None:
    """Compare and say so."""
    error = float(np.abs(np.asarray(got) - np.asarray(want)).max())
    print(f"  {what}: off by {error:.1e}")
    assert error <= limit, what


@torch.no_grad()
def main() -> None:
    """Wrappers against our door, then the decoder as ONNX."""
    model = samphony.build_sam2(
        "tiny", device="cpu", hydra_overrides_extra=[f"++model.image_size={SIZE}"], random_weights=True
    )
    photo = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    door = SAM2ImagePredictor(model)
    door.set_image(photo)

    features = SAM2ImageEncoder(model)(door._transforms(photo)[None])
    own = [*door._features["high_res_feats"], door._features["image_embed"]]
    for i, (a, b) in enumerate(zip(features, own, strict=True)):
        close(a, b, f"encoder wrapper, output {i}")
    fine, middle, embedding = features

    for multimask in (True, False):
        decoder = SAM2ImageDecoder(model, multimask_output=multimask).eval()  # torch.onnx restores the mode
        points, labels = torch.tensor([[[100.0, 125.0], [25.0, 225.0]]]), torch.tensor([[1.0, 0.0]])
        given = (embedding, fine, middle, points, labels, torch.zeros(1, 1, SIZE // 4, SIZE // 4), torch.zeros(1))
        masks, scores = decoder(*given)
        pixels = points[0].numpy() / SIZE * np.array([300, 200])
        _, ious, low = door.predict(pixels, labels[0].numpy(), multimask_output=multimask)
        close(masks[0], low, f"decoder wrapper, multimask {multimask}, logits")
        close(scores[0], ious, f"decoder wrapper, multimask {multimask}, scores")
        for name, export in (("torch.onnx.utils.export", _older), ("torch.onnx.export(dynamo=True)", _newer)):
            path = FOLDER / f"decoder_{multimask}.onnx"
            export(decoder, given, str(path))
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            for count in (2, 1, 5):
                points, labels = torch.rand(1, count, 2) * SIZE, torch.ones(1, count)
                given_now = (*given[:3], points, labels, torch.randn(1, 1, SIZE // 4, SIZE // 4), torch.ones(1))
                feed = {i.name: t.numpy() for i, t in zip(session.get_inputs(), given_now, strict=True)}
                for a, b in zip(session.run(None, feed), decoder(*given_now), strict=True):
                    close(a, b, f"{name}, multimask {multimask}, {count} points")


def _older(decoder: torch.nn.Module, given: tuple[torch.Tensor, ...], path: str) -> None:
    """With the arguments that samexporter's command uses."""
    axes = {0: "num_labels", 1: "num_points"}
    torch.onnx.utils.export(
        decoder,
        given,
        path,
        export_params=True,
        opset_version=18,
        do_constant_folding=True,
        input_names=list(INPUTS),
        output_names=["masks", "iou_predictions"],
        dynamic_axes={
            "point_coords": axes,
            "point_labels": axes,
            "mask_input": {0: "num_labels"},
            "has_mask_input": {0: "num_labels"},
        },
    )


def _newer(decoder: torch.nn.Module, given: tuple[torch.Tensor, ...], path: str) -> None:
    points = {1: torch.export.Dim.DYNAMIC}
    torch.onnx.export(
        decoder,
        given,
        path,
        input_names=list(INPUTS),
        output_names=["masks", "iou_predictions"],
        dynamo=True,
        dynamic_shapes=(None, None, None, points, points, None, None),
    )


def command() -> None:
    """samexporter's own command line, from a weights file to two ONNX files."""
    weights = FOLDER / "weights.pt"
    model = build_model(MODELS["tiny"], seed=0)
    torch.save({"model": model.state_dict()}, weights)
    encoder, decoder = FOLDER / "out" / "encoder.onnx", FOLDER / "out" / "decoder.onnx"
    sys.argv = ["export_sam2", "--checkpoint", str(weights), "--model_type", "sam2.1_hiera_tiny"]
    sys.argv += ["--output_encoder", str(encoder), "--output_decoder", str(decoder)]
    runpy.run_module("samexporter.export_sam2", run_name="__main__")
    session = onnxruntime.InferenceSession(str(encoder), providers=["CPUExecutionProvider"])
    picture = torch.randn(1, 3, 1024, 1024)
    got = session.run(None, {"image": picture.numpy()})
    with torch.no_grad():
        features = model.eval().forward_image(picture)
        want = [*features.high_res, model.no_memory_embedding(features)]
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        close(a, b, f"exported encoder, output {i}")
    assert decoder.is_file()


if __name__ == "__main__":
    main()
    if not QUICK:
        command()
