"""One line for newcomers: a photo and a click in, a typed result out. The command line uses the same."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from samphony.errors import MediaError, PromptError
from samphony.files import replacing
from samphony.media.masks import BoolArray, encode_rle, mask_boxes, save_mask
from samphony.media.overlay import UInt8Array, cutout, draw_boxes, draw_clicks, draw_masks
from samphony.media.photo import ChannelOrder, PhotoLike, load_photo, save_photo
from samphony.media.regions import SHOWN_MIN_AREA, tidy_mask

if TYPE_CHECKING:
    from samphony.model.base import SAM2Base
    from samphony.predict.image import SAM2ImagePredictor

FloatArray = npt.NDArray[np.float32]
KINDS = ("overlay", "mask", "cutout", "json")
"""What ``Segmentation.save`` can write."""
_SMALL_INPUT = 512
"""Models that see less of a photo than this, in pixels per side, look at small objects twice."""


def _no_rows(width: int) -> FloatArray:
    return np.zeros((0, width), np.float32)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What ``segment`` found: N masks of one photo, with all that is needed to show and keep them."""

    image: UInt8Array
    """(H, W, 3), RGB, upright."""
    masks: BoolArray
    """(N, H, W), without specks and holes below ``min_area``."""
    scores: FloatArray
    """(N,), the model's own estimate of each mask's IoU, 0 … 1."""
    low_res_logits: FloatArray
    """(N, 4h, 4w), as the model gave them; ``low_res_logits[i]``, given back as ``mask``, refines mask i."""
    name: str = "photo"
    """Stem of the photo's file; names the files of ``save``."""
    points: FloatArray = field(default_factory=lambda: _no_rows(2))
    """(K, 2), the clicks that were given, for drawing."""
    labels: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    """(K,), 1 on the object, 0 beside it."""
    prompt_boxes: FloatArray = field(default_factory=lambda: _no_rows(4))
    """(B, 4) XYXY, the boxes that were given, for drawing."""

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def boxes(self) -> npt.NDArray[np.int64]:
        """(N, 4) XYXY around the masks: smallest and largest pixel index; 0, 0, 0, 0 for an empty mask."""
        return mask_boxes(self.masks)

    def overlay(self, *, prompts: bool = True, opacity: float = 0.45) -> UInt8Array:
        """The photo (H, W, 3) with tinted masks and, unless ``prompts`` is off, the clicks and boxes given."""
        drawn = draw_masks(self.image, self.masks, opacity=opacity)
        if prompts and len(self.prompt_boxes):
            drawn = draw_boxes(drawn, self.prompt_boxes, np.full((len(self.prompt_boxes), 3), 255))
        return draw_clicks(drawn, self.points, self.labels) if prompts and len(self.points) else drawn

    def cutout(self, index: int | None = None, *, crop: bool = True) -> UInt8Array:
        """One mask's object, or all masks' together, on a transparent ground: (h, w, 4) RGBA, cropped to it."""
        mask = np.asarray(self.masks.any(axis=0) if index is None else self.masks[index])
        return cutout(self.image, mask, crop=crop)

    def to_coco(self, *, file_name: str | None = None, image_id: int = 1) -> dict[str, Any]:
        """A COCO data set of this photo, ready for JSON: compressed run-length codes, boxes XYWH, scores."""
        height, width = self.image.shape[:2]
        annotations = []
        for number, (mask, box, score) in enumerate(zip(self.masks, self.boxes, self.scores, strict=True), start=1):
            x0, y0, x1, y1 = (int(edge) for edge in box)
            area = int(mask.sum())
            annotations.append(
                {
                    "id": number,
                    "image_id": image_id,
                    "category_id": 1,
                    "iscrowd": 0,
                    "segmentation": encode_rle(mask),
                    "area": area,
                    "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1] if area else [0, 0, 0, 0],
                    "score": round(float(score), 6),
                }
            )
        name = self.name if file_name is None else file_name
        return {
            "images": [{"id": image_id, "file_name": name, "width": width, "height": height}],
            "categories": [{"id": 1, "name": "object"}],
            "annotations": annotations,
        }

    def save(self, folder: str | os.PathLike[str], kinds: Sequence[str] = KINDS) -> list[Path]:
        """Write the result into a folder, which is made, and give the files back.

        Args:
            folder: where the files go.
            kinds: which of ``"overlay"`` (PNG), ``"mask"`` (PNG, 255 where set; one a mask), ``"cutout"``
                (transparent PNG) and ``"json"`` (COCO).

        Raises:
            PromptError: an unknown kind. MediaError: a file that cannot be written.
        """
        unknown = set(kinds) - set(KINDS)
        if unknown:
            raise PromptError(f"kinds must be among {', '.join(KINDS)}, got {', '.join(sorted(unknown))}")
        stem = Path(folder) / self.name
        written = []
        if "overlay" in kinds:
            written.append(save_photo(f"{stem}_overlay.png", self.overlay()))
        if "mask" in kinds:
            numbers = [""] if len(self) == 1 else [f"_{i}" for i in range(1, len(self) + 1)]
            written += [save_mask(f"{stem}_mask{n}.png", mask) for n, mask in zip(numbers, self.masks, strict=True)]
        if "cutout" in kinds:
            written.append(save_photo(f"{stem}_cutout.png", self.cutout()))
        if "json" in kinds:
            path = Path(f"{stem}.json")
            try:
                with replacing(path) as temporary:
                    temporary.write_text(json.dumps(self.to_coco(), indent=1), encoding="utf-8")
            except OSError as error:
                raise MediaError(f"cannot write {path}: {error}") from error
            written.append(path)
        return written


def segment(
    photo: PhotoLike,
    points: npt.ArrayLike | None = None,
    labels: npt.ArrayLike | None = None,
    boxes: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    *,
    model: str | os.PathLike[str] | SAM2Base = "nano",
    device: str | None = None,
    channel_order: ChannelOrder = "rgb",
    candidates: bool = False,
    min_area: float = SHOWN_MIN_AREA,
    zoom: bool | None = None,
) -> Segmentation:
    """Segment objects in a photo.

    Args:
        photo: a path, bytes, a Pillow image, an array or a tensor: whatever ``load_photo`` reads.
        points: clicks (x, y) in pixels: (K, 2) on and beside one object, or (B, K, 2) for B objects.
        labels: 1 for a click on the object, 0 for one beside it; (K,) or (B, K). All 1 by default.
        boxes: (4,) or (B, 4) XYXY in pixels, one for each object; points, when given too, belong to them.
        mask: an earlier mask or its low-resolution logits, to be refined.
        model: any name of a model, whose weights are fetched once when they are not here; or a weights file, which
            says itself of which model it is; or a model. The one built last stays in memory for the next call.
        device: such as ``"cpu"`` or ``"cuda"``; by default CUDA where there is one.
        channel_order: ``"bgr"`` for arrays from OpenCV.
        candidates: give all three masks that the model proposes for each prompt, best first, instead of one.
        min_area: specks and holes of a mask below this share of the photo are removed and filled, unless they hold a
            click; 0 gives the masks as the model makes them.
        zoom: look at small objects a second time, closer, which takes one more encoding for each. By default for
            models with a small input, as the nano has.

    Returns:
        A mask for each object (with ``candidates``, three for each).

    Raises:
        PromptError: no prompt at all, or one that does not fit; the message names the argument.
        MediaError: a photo that cannot be read.
        ConfigError, CheckpointError: no such model, or no weights for it.
    """
    image = load_photo(photo, channel_order=channel_order)
    if points is None and boxes is None and mask is None:
        raise PromptError("give at least one of points, boxes and mask")
    if not 0 <= min_area < 1:
        raise PromptError(f"min_area must be a share of the photo, from 0 to below 1, got {min_area}")
    coords = None if points is None else np.atleast_2d(_numbers(points, "points"))
    if coords is None:
        signs = None if labels is None else _numbers(labels, "labels")
    else:
        signs = np.ones(coords.shape[:-1]) if labels is None else np.atleast_1d(_numbers(labels, "labels"))
    # A single click is ambiguous (shirt or person?): let the model propose three masks and take the best.
    ambiguous = coords is not None and coords.shape[-2] == 1 and boxes is None and mask is None

    predictor = _predictor_of(model, device, zoom)
    predictor.set_image(image)
    try:
        found, ious, logits = predictor.predict(
            point_coords=coords,
            point_labels=signs,
            box=boxes,
            mask_input=mask,
            multimask_output=candidates or ambiguous,
        )
    finally:
        predictor.reset_predictor()
    if ious.ndim == 1:  # a single prompt comes without the axis of prompts
        found, ious, logits = found[None], ious[None], logits[None]
    best_first = np.argsort(-ious, axis=1, kind="stable")  # (B, M)
    column = best_first if candidates else best_first[:, :1]
    row = np.arange(len(ious))[:, None]
    masks = found[row, column] > 0  # (B, M, H, W)
    B = len(masks)
    clicks = np.zeros((B, 0, 2)) if coords is None else coords.reshape(B, -1, 2)
    marks = np.zeros((B, 0)) if coords is None or signs is None else signs.reshape(B, -1)
    if min_area:
        for several, own_clicks, own_marks in zip(masks, clicks, marks, strict=True):
            for i, shown in enumerate(several):
                several[i] = tidy_mask(shown, min_area, own_clicks, own_marks)
    return Segmentation(
        image=image,
        masks=masks.reshape(-1, *image.shape[:2]),
        scores=ious[row, column].reshape(-1),
        low_res_logits=logits[row, column].reshape(-1, *logits.shape[2:]),
        name=Path(photo).stem if isinstance(photo, (str, os.PathLike)) else "photo",
        points=clicks.reshape(-1, 2).astype(np.float32),
        labels=marks.reshape(-1).astype(np.int32),
        prompt_boxes=_no_rows(4) if boxes is None else np.asarray(boxes, np.float32).reshape(-1, 4),
    )


def _numbers(values: npt.ArrayLike, name: str) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise PromptError(f"{name} must be numbers in rows of equal length ({error})") from error


def _predictor_of(
    model: str | os.PathLike[str] | SAM2Base, device: str | None, zoom: bool | None
) -> SAM2ImagePredictor:
    from samphony.predict.image import SAM2ImagePredictor
    from samphony.predict.zoom import ZoomImagePredictor

    net = _named_model(os.fspath(model), device) if isinstance(model, (str, os.PathLike)) else model
    zooms = net.image_size < _SMALL_INPUT if zoom is None else zoom
    return ZoomImagePredictor(net) if zooms else SAM2ImagePredictor(net)


@lru_cache(maxsize=1)
def _named_model(model: str, device: str | None) -> SAM2Base:
    from samphony.predict.build import build_sam2
    from samphony.weights.download import named_weights

    return build_sam2(*named_weights(model), device=device)
