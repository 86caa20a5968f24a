"""Whether an object is found again that has jumped: pairs of frames, the second moved to the right.

    python benchmarks/jumps.py DATA [--model nano] [--limit 40]

DATA is any folder that ``samphony evaluate`` reads; of archives, the validation split's photos are taken. The largest
object of a photo is given as a mask on the first frame; the second is the photo moved by a share of its width, mirrored
where it would be empty. Prints the mean IoU of the object on the second frame.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import samphony
from samphony.datasets.readers import records_to_evaluate
from samphony.datasets.sources import IGNORE
from samphony.evaluate.metrics import jaccard
from samphony.weights.download import named_weights

SHARES = (0.0, 1 / 12, 1 / 6, 1 / 4, 1 / 3)


def moved(x: np.ndarray, by: int, mode: str) -> np.ndarray:
    """Rows of (H,W,…) moved to the right by so many pixels; what comes in is ``mode`` of numpy's pad."""
    around = [(0, 0), (by, 0)] + [(0, 0)] * (x.ndim - 2)
    return np.pad(x, around, mode=mode)[:, : x.shape[1]]  # type: ignore[call-overload]


def main() -> None:
    """Track every pair and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--limit", type=int, default=40, help="photos")
    arguments = parser.parse_args()
    records = [r for r in records_to_evaluate(arguments.data) if r.clip is None]
    predictor = samphony.build_sam2_video_predictor(*named_weights(arguments.model))
    found: dict[float, list[float]] = {share: [] for share in SHARES}
    for record in records[:: max(len(records) // arguments.limit, 1)][: arguments.limit]:
        image, labels = record.load()
        counts = np.bincount(labels.ravel(), minlength=256)
        counts[0] = counts[IGNORE] = 0
        if not counts.any():
            continue
        mask, void = labels == counts.argmax(), labels == IGNORE
        for share, values in found.items():
            by = round(share * image.shape[1])
            truth = moved(mask, by, "constant")
            if truth.sum() < 0.5 * mask.sum():
                continue  # most of it has left
            state = predictor.init_state(np.stack((image, moved(image, by, "reflect"))))
            predictor.add_new_mask(state, 0, 1, mask)
            *_, (_, _, logits) = predictor.propagate_in_video(state)
            answer = (logits[0, 0] > 0).cpu().numpy()
            values.append(jaccard(answer, truth, moved(void, by, "reflect")))
    print(f"{'moved by':<10}{'objects':>8}{'IoU':>8}")
    for share, values in found.items():
        print(f"{share:<10.3f}{len(values):>8}{np.mean(values):>8.3f}")


if __name__ == "__main__":
    main()
