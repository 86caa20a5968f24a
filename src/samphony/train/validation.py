"""A quick validation during training: the click protocol on a fixed part of the validation split, from the cache."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from samphony.evaluate.clicks import ObjectResult, evaluate_picture, mean_of
from samphony.evaluate.segmenter import ModelSegmenter
from samphony.model.base import SAM2Base
from samphony.train.cache import CachedPicture, PictureCache

_CLUTTER = ("coco-mixed", "coco-person", "voc10-coseg", "voc2007-obj", "coco-panoptic")
_GROUPS = ("salient", "clutter", "regions")
_LEAST = 0.002
"""Share of the picture below which an object is not scored."""


def quick_validation(
    cache: PictureCache, held_out: Callable[[CachedPicture], bool], pictures: int, clicks: int = 3
) -> Callable[[SAM2Base], dict[str, float]] | None:
    """A function that scores a model on at most two objects each of ``pictures`` held-out pictures.

    Groups (salient, clutter, regions, or the kinds there are) get equal parts. Frames of held-out clips, spread evenly,
    stand in where no photo is held out. None when nothing is.
    """
    held = [i for i, p in enumerate(cache.pictures) if held_out(p) and any(a > _LEAST for a in p.areas)]
    photos = [i for i in held if cache.pictures[i].clip is None]
    groups: dict[str, list[int]] = {}
    for i in photos or held[:: max(len(held) // pictures, 1)]:
        p = cache.pictures[i]
        groups.setdefault("clutter" if p.source in _CLUTTER else p.kind, []).append(i)
    wanted = [g for g in _GROUPS if g in groups] or sorted(groups)
    chosen = [(i, g) for g in wanted for i in groups[g][: max(pictures // len(wanted), 1)]]
    if not chosen:
        return None

    def score(model: SAM2Base) -> dict[str, float]:
        segmenter = ModelSegmenter(model)
        results: dict[str, list[ObjectResult]] = {}
        for i, group in chosen:
            p = cache.pictures[i]
            order = np.argsort(p.areas)[::-1]
            ids = [p.ids[j] for j in order[:6:3] if p.areas[j] > _LEAST]
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
