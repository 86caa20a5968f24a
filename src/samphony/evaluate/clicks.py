"""Interactive segmentation of pictures: mean IoU after clicks, with a box, and of the best of three masks.

Protocol (official evaluation of SAM 2): the first click is the object's centre by distance transform, each further
click the centre of the largest error; a first click is answered with the best of three masks by predicted IoU,
later answers and boxes are the single mask; earlier clicks and logits are given again. Masks are compared at the
picture's own size; post-processing is off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from samphony.evaluate.metrics import Mask, boundary_f, jaccard
from samphony.evaluate.segmenter import Segmenter

CLICKS = (1, 3, 5)


@dataclass(frozen=True)
class ObjectResult:
    """One object: IoU after 1…n clicks, with a box, best of three; boundary F after the last click and with the box."""

    name: str
    kind: str
    source: str
    object_id: int
    area: float
    """Share of the picture."""
    clicks: tuple[float, ...]
    box: float
    oracle: float
    clicks_f: tuple[float, ...]
    box_f: float
    iou_error: float
    """Mean distance of the predicted IoU from the true one, over the first answer and the box's."""


def evaluate_picture(
    segmenter: Segmenter,
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    ids: Sequence[int],
    name: str = "",
    kind: str = "",
    source: str = "",
    clicks: int = 5,
    ignore: int = 255,
    contours: bool = True,
) -> list[ObjectResult]:
    """Play the protocol for the objects ``ids`` of a label map (H,W); pixels labelled ``ignore`` do not count.

    Without ``contours`` boundary F is not measured (nan): it takes longer than the network.
    """
    truths = [labels == i for i in ids]
    void = labels == ignore
    contour_score = boundary_f if contours else _unmeasured
    segmenter.set_image(image)
    N = len(truths)

    boxed = segmenter.answer(
        torch.stack([tight_box(t) for t in truths]), torch.tensor([[2, 3]] * N, dtype=torch.int32), None, several=False
    )
    box_logits, box_ious, _ = boxed.best()
    box_masks = _masks(box_logits)

    coords, signs = torch.zeros(N, 0, 2), torch.zeros(N, 0, dtype=torch.int32)
    masks: list[Mask] = [np.zeros_like(t) for t in truths]
    previous: Tensor | None = None
    ious: list[list[float]] = []
    fs: list[list[float]] = []
    oracle, error = [0.0] * N, [0.0] * N
    for k in range(clicks):
        placed = [next_click(m, t, void) for m, t in zip(masks, truths, strict=True)]
        coords = torch.cat((coords, torch.tensor([[p[:2]] for p in placed], dtype=torch.float32)), dim=1)
        signs = torch.cat((signs, torch.tensor([[p[2]] for p in placed], dtype=torch.int32)), dim=1)
        answer = segmenter.answer(coords, signs, previous, several=k == 0)
        logits, predicted, previous = answer.best()
        masks = _masks(logits)
        ious.append([jaccard(m, t, void) for m, t in zip(masks, truths, strict=True)])
        fs.append([contour_score(m, t, void) for m, t in zip(masks, truths, strict=True)])
        if k == 0:
            three = (answer.logits > 0).numpy()
            oracle = [max(jaccard(m, t, void) for m in three[n]) for n, t in enumerate(truths)]
            error = [abs(float(predicted[n]) - ious[0][n]) for n in range(N)]
    return [
        ObjectResult(
            name=name,
            kind=kind,
            source=source,
            object_id=int(ids[n]),
            area=float(truths[n].mean()),
            clicks=tuple(row[n] for row in ious),
            box=(box_iou := jaccard(box_masks[n], truths[n], void)),
            oracle=oracle[n],
            clicks_f=tuple(row[n] for row in fs),
            box_f=contour_score(box_masks[n], truths[n], void),
            iou_error=(error[n] + abs(float(box_ious[n]) - box_iou)) / 2,
        )
        for n in range(N)
    ]


def _unmeasured(mask: Mask, truth: Mask, void: Mask | None = None) -> float:
    return float("nan")


def next_click(mask: Mask, truth: Mask, void: Mask | None = None) -> tuple[float, float, int]:
    """The centre of the largest error: (x, y, 1 for missed, 0 for too much).

    Centre: the pixel farthest from the error region's rim (and from the picture's). Without an error, the centre of
    what is not the object, as a negative click (official behaviour).
    """
    missed, extra = truth & ~mask, mask & ~truth
    if void is not None:
        missed, extra = missed & ~void, extra & ~void
    if not missed.any() and not extra.any():
        extra = ~truth
    (deep_in, at_in), (deep_out, at_out) = _deepest(missed), _deepest(extra)
    (y, x), sign = (at_in, 1) if deep_in > deep_out else (at_out, 0)
    return float(x), float(y), sign


def _deepest(region: Mask) -> tuple[float, tuple[int, int]]:
    if not region.any():
        return 0.0, (0, 0)
    distance = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    at = np.unravel_index(int(distance.argmax()), distance.shape)
    return float(distance[at]), (int(at[0]), int(at[1]))


def tight_box(truth: Mask) -> Tensor:
    """Corners (2,2) of the tight box, x and y, last pixel included."""
    ys, xs = np.nonzero(truth)
    return torch.tensor([[xs.min(), ys.min()], [xs.max(), ys.max()]], dtype=torch.float32)


def _masks(logits: Tensor) -> list[Mask]:
    return list((logits > 0).numpy())


def mean_of(results: Sequence[ObjectResult], what: str) -> float:
    """Mean of ``click1`` … ``clickN``, ``box``, ``oracle``, ``f1`` …, ``box_f`` or ``iou_error``; nan without
    results.
    """
    if not results:
        return float("nan")
    return float(np.mean([_value(r, what) for r in results]))


def _value(result: ObjectResult, what: str) -> float:
    if what.startswith("click"):
        return result.clicks[int(what[5:]) - 1]
    if what[0] == "f" and what[1:].isdigit():
        return result.clicks_f[int(what[1:]) - 1]
    return float(getattr(result, what))
