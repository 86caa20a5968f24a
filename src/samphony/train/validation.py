"""A quick validation during training: the click protocol on a fixed part of the validation split, from the cache."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from samphony.evaluate.clicks import ObjectResult, evaluate_picture, mean_of
from samphony.evaluate.segmenter import ModelSegmenter
from samphony.model.base import SAM2Base
from samphony.train.cache import CachedPicture, PictureCache

_CLUTTER = ("coco-mixed", "coco-person", "voc10-coseg", "voc2007-obj", "coco-panoptic")


def quick_validation(
    cache: PictureCache, held_out: Callable[[CachedPicture], bool], pictures: int, clicks: int = 3
) -> Callable[[SAM2Base], dict[str, float]]:
    """A function that scores a model on at most two objects each of ``pictures`` salient, cluttered and region
    pictures.
    """
    chosen: list[tuple[int, str]] = []
    groups = {"salient": pictures // 3, "clutter": pictures // 3, "regions": pictures // 3}
    for i, p in enumerate(cache.pictures):
        group = "clutter" if p.source in _CLUTTER else p.kind
        if held_out(p) and p.clip is None and groups.get(group, 0) > 0 and any(a > 0.002 for a in p.areas):
            groups[group] -= 1
            chosen.append((i, group))

    def score(model: SAM2Base) -> dict[str, float]:
        segmenter = ModelSegmenter(model)
        results: dict[str, list[ObjectResult]] = {}
        for i, group in chosen:
            p = cache.pictures[i]
            order = np.argsort(p.areas)[::-1]
            ids = [p.ids[j] for j in order[:6:3] if p.areas[j] > 0.002]
            results.setdefault(group, []).extend(
                evaluate_picture(segmenter, cache.images[i], cache.labels[i], ids, clicks=clicks, contours=False)
            )
        out = {
            f"{group}/{what}": mean_of(rows, what)
            for group, rows in results.items()
            for what in ("click1", f"click{clicks}", "box", "oracle", "iou_error")
        }
        parts = [v for k, v in out.items() if k.endswith(("click1", f"click{clicks}", "box"))]
        return out | {"score": float(np.mean(parts))}

    return score
