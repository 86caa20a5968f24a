"""Pictures that show a result: masks over a photo, clicks and boxes, transparent cut-outs.

Photos are RGB uint8 ``(H, W, 3)``, masks bool ``(N, H, W)``; every function gives a new array.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from samphony.errors import PromptError
from samphony.media.masks import BoolArray, mask_boxes

UInt8Array = npt.NDArray[np.uint8]

_FIRST_COLOURS = (  # the first few are picked for contrast with photos and with each other
    (40, 130, 255),
    (255, 64, 64),
    (60, 205, 80),
    (255, 190, 0),
    (190, 80, 240),
    (0, 205, 205),
    (255, 120, 20),
    (255, 100, 190),
)
_GOLDEN_RATIO = 0.618033988749895


def distinct_colours(count: int) -> UInt8Array:
    """(count, 3) RGB colours that tell neighbours apart; colour i does not depend on ``count``.

    After a few fixed ones, hues step by the golden ratio, which spreads any number of them, with three
    saturations and two brightnesses in turn.
    """
    colours = list(_FIRST_COLOURS[:count])
    for i in range(len(colours), count):
        hue = (i * _GOLDEN_RATIO) % 1
        red, green, blue = colorsys.hsv_to_rgb(hue, (0.9, 0.55, 0.75)[i % 3], (1.0, 0.8)[i % 2])
        colours.append((round(red * 255), round(green * 255), round(blue * 255)))
    return np.array(colours, np.uint8).reshape(count, 3)


def draw_masks(
    photo: UInt8Array,
    masks: BoolArray,
    *,
    colours: npt.ArrayLike | None = None,
    opacity: float = 0.45,
    outline: int | None = None,
) -> UInt8Array:
    """Tint each mask over the photo and draw its border.

    Args:
        photo: (H, W, 3).
        masks: (N, H, W) or (H, W); a later mask lies on top of an earlier one.
        colours: (N, 3) RGB; the distinct colours by default.
        opacity: of the tint, 0 … 1.
        outline: width of the border in pixels, inside the mask; 0 for none, by default by the photo's size.

    Raises:
        PromptError: masks do not have the photo's size, or there are fewer colours than masks.
    """
    masks = _stack(masks, photo)
    palette = distinct_colours(len(masks)) if colours is None else np.asarray(colours)
    if palette.shape != (len(masks), 3):
        raise PromptError(f"colours must be ({len(masks)}, 3) for {len(masks)} masks, got {palette.shape}")
    width = _line_width(photo) if outline is None else outline
    drawn = np.array(photo)
    for mask, colour in zip(masks, palette, strict=True):
        window = _window(mask, margin=1)
        part, target = mask[window], drawn[window]
        tint = target[part] * (1 - opacity) + colour.astype(np.float32) * opacity
        target[part] = np.rint(tint).astype(np.uint8)
        if width > 0 and part.any():
            inner = ndimage.binary_erosion(part, structure=np.ones((3, 3)), iterations=width, border_value=1)
            target[part & ~inner] = colour
    return drawn


def draw_clicks(photo: UInt8Array, points: npt.ArrayLike, labels: npt.ArrayLike) -> UInt8Array:
    """Mark clicks: a green disc with a plus for label 1, a red one with a minus for label 0.

    Args:
        photo: (H, W, 3).
        points: (N, 2) as (x, y) in pixels.
        labels: (N,), 1 or 0.
    """
    radius = max(4, round(min(photo.shape[:2]) / 60))
    picture = Image.fromarray(photo)
    draw = ImageDraw.Draw(picture)
    bar = max(1, radius // 3)
    coordinates = np.asarray(points, np.float64).reshape(-1, 2)
    for (x, y), label in zip(coordinates, np.asarray(labels).reshape(-1), strict=True):
        disc = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(disc, fill=(30, 160, 60) if label else (215, 40, 40), outline="white", width=bar)
        arm = radius * 0.5
        draw.line((x - arm, y, x + arm, y), fill="white", width=bar)
        if label:
            draw.line((x, y - arm, x, y + arm), fill="white", width=bar)
    return np.array(picture)


def draw_boxes(photo: UInt8Array, boxes: npt.ArrayLike, colours: npt.ArrayLike | None = None) -> UInt8Array:
    """Draw (N, 4) XYXY boxes, in the distinct colours unless (N, 3) others are given."""
    rectangles = np.asarray(boxes, np.float64).reshape(-1, 4)
    palette: Sequence[Sequence[int]] = (
        distinct_colours(len(rectangles)) if colours is None else np.asarray(colours)
    ).tolist()
    picture = Image.fromarray(photo)
    draw = ImageDraw.Draw(picture)
    for (x0, y0, x1, y1), (red, green, blue) in zip(rectangles.tolist(), palette, strict=True):
        corners = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
        draw.rectangle(corners, outline=(red, green, blue), width=_line_width(photo))
    return np.array(picture)


def cutout(photo: UInt8Array, mask: BoolArray, *, crop: bool = True) -> UInt8Array:
    """The masked object on a transparent ground: (h, w, 4) RGBA.

    Args:
        photo: (H, W, 3).
        mask: (H, W).
        crop: to the mask's box; otherwise, and for an empty mask, the whole size.
    """
    mask = _stack(mask, photo)[0]
    alpha = np.where(mask, np.uint8(255), np.uint8(0))
    cut = np.dstack([np.where(mask[:, :, None], photo, np.uint8(0)), alpha])
    if crop and mask.any():
        cut = cut[_window(mask, margin=0)]
    return np.ascontiguousarray(cut)


def _stack(masks: BoolArray, photo: UInt8Array) -> BoolArray:
    masks = np.asarray(masks, bool)
    if masks.ndim == 2:
        masks = masks[None]
    if masks.ndim != 3 or masks.shape[1:] != photo.shape[:2]:
        raise PromptError(f"masks must be (N, {photo.shape[0]}, {photo.shape[1]}) bool, got {masks.shape}")
    return masks


def _window(mask: BoolArray, margin: int) -> tuple[slice, slice]:
    """Slices (rows, columns) around a mask: drawing costs by the object's size, not the photo's."""
    x0, y0, x1, y1 = (int(edge) for edge in mask_boxes(mask))
    return slice(max(y0 - margin, 0), y1 + 1 + margin), slice(max(x0 - margin, 0), x1 + 1 + margin)


def _line_width(photo: UInt8Array) -> int:
    return max(1, round(min(photo.shape[:2]) / 300))
