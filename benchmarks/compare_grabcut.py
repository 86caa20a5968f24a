"""The nano and OpenCV's GrabCut with the same boxes on the same pictures.

    pip install opencv-python-headless
    python benchmarks/compare_grabcut.py DATA [--model nano] [--limit 30]

DATA is any folder that ``samphony evaluate clicks`` reads; of archives, the validation split is taken. Every object
gets its tight box; GrabCut starts from it with five iterations, as in OpenCV's documentation. Prints mean IoU by
kind.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from samphony.datasets.readers import records_to_evaluate
from samphony.evaluate.clicks import tight_box
from samphony.evaluate.metrics import jaccard
from samphony.evaluate.segmenter import ModelSegmenter
from samphony.predict.build import build_sam2
from samphony.weights.download import named_weights


def grabcut(image: NDArray[np.uint8], box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """GrabCut's mask of a box x0, y0, x1, y1 (last pixel included); the box itself when it fails."""
    import cv2

    x0, y0, x1, y1 = box
    mask = np.zeros(image.shape[:2], dtype=np.uint8)
    inside = np.zeros(image.shape[:2], dtype=bool)
    inside[y0 : y1 + 1, x0 : x1 + 1] = True
    if inside.all():
        return inside  # no background to learn from
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    try:
        cv2.grabCut(
            image[..., ::-1].copy(),
            mask,
            (x0, y0, x1 - x0 + 1, y1 - y0 + 1),
            background,
            foreground,
            5,
            cv2.GC_INIT_WITH_RECT,
        )
    except cv2.error:
        return inside
    return np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD))


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--limit", type=int, default=30, help="pictures of each source")
    parser.add_argument("--objects", type=int, default=3, help="objects of a picture, the largest first")
    parser.add_argument("--kinds", default="salient,instances", help="kinds to compare")
    arguments = parser.parse_args()
    kinds = arguments.kinds.split(",")
    records = [r for r in records_to_evaluate(arguments.data) if r.clip is None and r.kind in kinds]
    name, weights = named_weights(arguments.model)
    segmenter = ModelSegmenter(build_sam2(name, weights, apply_postprocessing=False))
    scores: dict[str, list[tuple[float, float]]] = {}
    seen: dict[str, int] = {}
    for record in records:
        if seen.get(record.source, 0) >= arguments.limit:
            continue
        seen[record.source] = seen.get(record.source, 0) + 1
        image, labels = record.load()
        void = labels == 255
        counts = np.bincount(labels.ravel(), minlength=256)
        counts[0] = counts[255] = 0
        ids = [int(i) for i in np.argsort(counts)[::-1][: arguments.objects] if counts[i] > 0.002 * labels.size]
        segmenter.set_image(image)
        for i in ids:
            truth = labels == i
            corners = tight_box(truth)
            answer = segmenter.answer(corners[None], torch.tensor([[2, 3]], dtype=torch.int32), None, several=False)
            ours = (answer.logits[0, 0] > 0).numpy()
            x0, y0, x1, y1 = (int(v) for v in corners.flatten())
            theirs = grabcut(image, (x0, y0, x1, y1))
            scores.setdefault(record.kind, []).append((jaccard(ours, truth, void), jaccard(theirs, truth, void)))
    print(f"{'kind':<12}{'objects':>8}{arguments.model[-20:]:>22}{'GrabCut':>10}")
    for group, pairs in sorted(scores.items()):
        ours_mean, theirs_mean = np.mean(pairs, axis=0)
        print(f"{group:<12}{len(pairs):>8}{ours_mean:>22.3f}{theirs_mean:>10.3f}")


if __name__ == "__main__":
    main()
