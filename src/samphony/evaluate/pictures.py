"""Pictures of the worst and the best results: the truth beside the answer, or both as contours over a clip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from samphony.evaluate.clicks import next_click
from samphony.evaluate.metrics import Mask
from samphony.evaluate.video import ClipData, TrackResult
from samphony.media.overlay import draw_clicks, draw_masks
from samphony.media.photo import save_photo
from samphony.media.video_overlay import contact_sheet

Picture = NDArray[np.uint8]

TRUTH, ANSWER = (60, 220, 90), (255, 60, 60)
"""Colours of the contours."""
_WIDTH = 480


def save_comparison(file: Path, image: Picture, mask: Mask, truth: Mask) -> None:
    """Write the picture with the true mask beside the picture with the predicted one, (H,2W+4,3)."""
    line = np.full((image.shape[0], 4, 3), 255, dtype=np.uint8)
    save_photo(file, np.concatenate((draw_masks(image, truth), line, draw_masks(image, mask)), axis=1))


def track_sheet(result: TrackResult, clip: ClipData, predicted: dict[int, Picture], count: int = 9) -> Picture:
    """A contact sheet of one tracked object: its prompt, then measured frames from first to last with their J.

    The true contour is green, the answer red and tinted.

    Args:
        result: of this clip. clip: frames and true label maps.
        predicted: label maps (H,W) by frame.
        count: frames on the sheet at most.
    """
    shown = np.linspace(0, len(result.frames) - 1, min(count - 1, len(result.frames))).round().astype(int)
    pictures = [_prompt_picture(result, clip)]
    for k in shown:
        t = result.frames[k]
        truth, answer = clip.labels[t] == result.object_id, predicted[t] == result.object_id
        pictures.append(_contours(clip.frames[t], truth, answer, f"{t}: J {result.frames_j[k]:.2f}"))
    return contact_sheet(pictures, width=_WIDTH)


def _prompt_picture(result: TrackResult, clip: ClipData) -> Picture:
    truth = clip.labels[result.first] == result.object_id
    words = f"{result.first}: {'one click' if result.setting == 'click' else 'mask given'}, J&F {result.jf:.2f}"
    picture = _contours(clip.frames[result.first], truth, np.zeros_like(truth), words)
    if result.setting == "mask":
        return picture
    x, y, _ = next_click(np.zeros_like(truth), truth)
    scale = _WIDTH / truth.shape[1]
    return draw_clicks(picture, [(x * scale, y * scale)], [1])


def _contours(image: Picture, truth: Mask, answer: Mask, words: str) -> Picture:
    """A frame scaled to the sheet, with both contours, and words at its foot."""
    size = (_WIDTH, round(image.shape[0] * _WIDTH / image.shape[1]))
    picture = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    masks = [np.asarray(Image.fromarray(m).resize(size, Image.Resampling.NEAREST)) for m in (truth, answer)]
    picture = draw_masks(picture, masks[0], colours=[TRUTH], opacity=0.0, outline=2)
    picture = draw_masks(picture, masks[1], colours=[ANSWER], opacity=0.25, outline=1)
    labelled = Image.fromarray(picture)
    draw = ImageDraw.Draw(labelled)
    x0, y0, x1, y1 = draw.textbbox((8, size[1] - 22), words, font_size=14)
    draw.rectangle((x0 - 4, y0 - 4, x1 + 4, y1 + 4), fill=(0, 0, 0))
    draw.text((8, size[1] - 22), words, fill=(255, 255, 255), font_size=14)
    return np.asarray(labelled)


class Extremes:
    """Keeps pictures of the worst and the best of many results, drawing only those that may stay.

    Args:
        count: of each.
    """

    def __init__(self, count: int = 4) -> None:
        self.count = count
        self._worst: list[tuple[float, int, Picture]] = []
        self._best: list[tuple[float, int, Picture]] = []
        self._seen = 0

    def offer(self, score: float, draw: Callable[[], Picture]) -> None:
        """Consider a result; ``draw`` is called when it is among the extremes so far."""
        self._seen += 1
        picture: Picture | None = None
        for kept, key in ((self._worst, score), (self._best, -score)):
            if len(kept) < self.count or key < kept[-1][0]:
                picture = draw() if picture is None else picture
                kept.append((key, self._seen, picture))
                kept.sort(key=lambda item: item[:2])
                del kept[self.count :]

    def save(self, folder: Path, prefix: str = "") -> list[Path]:
        """Write ``PREFIXworst-1.png`` … and ``PREFIXbest-1.png`` …, the most extreme first."""
        return [
            save_photo(folder / f"{prefix}{word}-{i}.png", picture)
            for word, kept in (("worst", self._worst), ("best", self._best))
            for i, (_, _, picture) in enumerate(kept, start=1)
        ]
