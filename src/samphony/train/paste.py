"""Copy-paste: objects cut out of one picture and laid over another (Ghiasi et al., 2021).

It makes clutter whose masks are exact: objects that hide each other, small ones, and twins that only a prompt tells
apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samphony.datasets.sources import IGNORE

PASTED = (251, 252, 253)
"""Labels of pasted objects; objects of data sets end at 250."""
_EXTENT = (0.1, 0.45)
"""Longer side of a pasted object, as a share of the picture."""

Pixels = NDArray[np.uint8]


def worth_cutting(labels: Pixels, least: float = 0.01, most: float = 0.5) -> list[int]:
    """Ids in (S,S) labels that are large enough to be cut out, no background, and whole: hardly at the rim."""
    counts = np.bincount(labels.ravel(), minlength=256)
    counts[0] = counts[IGNORE] = 0
    rim = np.concatenate((labels[0], labels[-1], labels[:, 0], labels[:, -1]))
    at_rim = np.bincount(rim, minlength=256)
    fits = (counts >= least * labels.size) & (counts <= most * labels.size) & (at_rim <= 0.02 * rim.size)
    return [int(i) for i in np.flatnonzero(fits)]


def paste(image: Pixels, labels: Pixels, donor: Pixels, mask: NDArray[np.bool_], rng: np.random.Generator) -> None:
    """Lay the object ``mask`` (S,S) of a ``donor`` picture (S,S,3) over ``image`` and ``labels``, in place.

    One to three copies of it, each of its own size, place and brightness, at times mirrored; each gets a label of its
    own, so that copies are told apart.
    """
    S = image.shape[0]
    ys, xs = np.nonzero(mask)
    window = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
    extent = max(window[2] - window[0], window[3] - window[1])
    cut, alpha = Image.fromarray(donor).crop(window), Image.fromarray((mask * 255).astype(np.uint8)).crop(window)
    copies = 1 + int(rng.random() < 0.35) + int(rng.random() < 0.15)
    for label in PASTED[:copies]:
        # At most half as large again: enlarged pixels would give a cut-out away.
        scale = min(S * float(np.exp(rng.uniform(*np.log(_EXTENT)))) / extent, 1.5)
        w, h = (max(round(side * scale * rng.uniform(0.9, 1.1)), 2) for side in cut.size)
        piece = np.asarray(cut.resize((w, h), Image.Resampling.BILINEAR), dtype=np.float32)
        over = np.asarray(alpha.resize((w, h), Image.Resampling.BILINEAR), dtype=np.float32)[..., None] / 255
        if rng.random() < 0.5:
            piece, over = piece[:, ::-1], over[:, ::-1]
        piece = np.clip(piece * rng.uniform(0.75, 1.25), 0, 255)
        x, y = int(rng.integers(-w // 4, S - 3 * w // 4)), int(rng.integers(-h // 4, S - 3 * h // 4))
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + w, S), min(y + h, S)
        if x1 <= x0 or y1 <= y0:
            continue
        piece, over = piece[y0 - y : y1 - y, x0 - x : x1 - x], over[y0 - y : y1 - y, x0 - x : x1 - x]
        under = image[y0:y1, x0:x1]
        image[y0:y1, x0:x1] = np.rint(under + (piece - under) * over).astype(np.uint8)
        labels[y0:y1, x0:x1][over[..., 0] >= 0.5] = label
