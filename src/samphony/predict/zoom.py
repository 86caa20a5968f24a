"""A second, closer look at small objects.

A network sees a photo at its own input size, where little is left of an object that takes a tenth of the photo's side.
Once it is known where the object is, the same prompts are answered again on a crop around it: one more encoded picture
for each small object. Related work crops for the same reason: f-BRS's zoom-in (Sofiiuk et al., 2020).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from samphony.media.masks import mask_boxes
from samphony.media.regions import SHOWN_MIN_AREA, tidy_mask
from samphony.predict.image import LOGIT_LIMIT, Prediction, SAM2ImagePredictor
from samphony.predict.prompts import Prompts

CONTEXT = 2.0
"""The crop's side, as a multiple of the object's: what it is not helps to say what it is."""
WORTH_IT = 0.7
"""Crops that take more than this share of the photo's side show little more than the photo does."""
LARGEST_ENLARGEMENT = 6
"""A crop is at least this fraction of the network's input size, in pixels of the photo."""


@dataclass(frozen=True)
class Window:
    """A part of a photo, in pixels."""

    left: int
    top: int
    width: int
    height: int

    def of(self, x: Any) -> Any:
        """The part of (H,W,…), or of a tensor (…,H,W)."""
        rows, columns = slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)
        return x[..., rows, columns] if isinstance(x, Tensor) else x[rows, columns]

    def holds(self, points: Tensor) -> Tensor:
        """Which of the points (N,2), x y, lie in it: (N,) bool."""
        low = points.new_tensor([self.left, self.top])
        size = points.new_tensor([self.width, self.height])
        return ((points >= low) & (points < low + size)).all(dim=1)


def window_around(box: Sequence[float], photo: tuple[int, int], input_size: int) -> Window | None:
    """The crop for a closer look at an object; None where it would show little more than the photo.

    It has the photo's aspect ratio, which the network does not keep either: objects look as stretched as before.

    Args:
        box: x0, y0, x1, y1 around the object, in pixels.
        photo: (H, W). input_size: pixels per side of the network's input.
    """
    H, W = photo
    x0, y0, x1, y1 = box
    share = CONTEXT * max((x1 - x0 + 1) / W, (y1 - y0 + 1) / H)
    share = max(share, input_size / LARGEST_ENLARGEMENT / min(H, W))
    if share > WORTH_IT:
        return None
    width, height = round(share * W), round(share * H)
    left = min(max(round((x0 + x1 + 1 - width) / 2), 0), W - width)
    top = min(max(round((y0 + y1 + 1 - height) / 2), 0), H - height)
    return Window(left, top, width, height)


class ZoomImagePredictor(SAM2ImagePredictor):
    """`SAM2ImagePredictor` whose ``predict`` looks at small objects again, closer; arguments and results are the same.

    The photo is kept. Photos of ``set_image_batch`` and loaded embeddings are answered without a closer look.
    """

    _picture: npt.NDArray[Any] | None = None

    def _encode(self, pictures: list[npt.NDArray[Any]]) -> None:
        super()._encode(pictures)
        self._picture = pictures[0]

    def load_image_embedding(self, path: str | os.PathLike[str]) -> None:
        """As `SAM2ImagePredictor.load_image_embedding`; without the photo there is no closer look."""
        super().load_image_embedding(path)
        self._picture = None

    def reset_predictor(self) -> None:
        """Forget the photo."""
        super().reset_predictor()
        self._picture = None

    def _decode(
        self,
        prompts: list[Prompts],
        images: list[int],
        multimask_output: bool,
        return_logits: bool,
        normalize_coords: bool,
    ) -> list[Prediction]:
        if self._picture is None or self._is_batch or prompts[0].coords is None:
            return super()._decode(prompts, images, multimask_output, return_logits, normalize_coords)
        [first] = super()._decode(prompts, images, multimask_output, True, normalize_coords)
        photo = self._orig_hw[0]
        asked = prompts[0] if normalize_coords else _in_pixels(prompts[0], photo)
        is_single = first[1].ndim == 1
        logits, ious, low_res = (part[None] for part in first) if is_single else first
        closer = SAM2ImagePredictor(self.model, self.mask_threshold, self.max_hole_area, self.max_sprinkle_area)
        for i in range(len(ious)):
            window = self._window(asked, i, logits[i], ious[i])
            if window is None:
                continue
            closer.set_image(np.ascontiguousarray(window.of(self._picture)))
            seen, ious[i] = _look(closer, window, asked, i, multimask_output, photo)
            for whole, part in zip(logits[i], seen, strict=True):
                whole[...] = -LOGIT_LIMIT
                window.of(whole)[...] = part
            low_res[i] = _shrunk(logits[i], low_res.shape[-2:])
        if not return_logits:
            np.greater(logits, self.mask_threshold, out=logits, casting="unsafe")  # a photo's logits are large
        return [(logits[0], ious[0], low_res[0]) if is_single else (logits, ious, low_res)]

    def _window(self, prompts: Prompts, i: int, logits: npt.NDArray[Any], ious: npt.NDArray[Any]) -> Window | None:
        """Where to look for prompt i: around its box, else around its best mask and its clicks."""
        assert prompts.coords is not None
        assert prompts.labels is not None
        points, labels = prompts.coords[i], prompts.labels[i]
        corners = points[(labels == 2) | (labels == 3)]
        if len(corners) == 2:
            box = corners.flatten().tolist()
        else:
            mask = logits[int(ious.argmax())] > self.mask_threshold
            if not mask.any():
                return None
            mask = tidy_mask(mask, SHOWN_MIN_AREA, points.numpy(), labels.numpy())
            clicks = points[labels == 1].numpy()
            edges = np.concatenate((mask_boxes(mask[None]).reshape(2, 2), clicks))
            box = [*edges.min(axis=0), *edges.max(axis=0)]
        return window_around(box, self._orig_hw[0], self.model.image_size)


def _in_pixels(prompts: Prompts, photo: tuple[int, int]) -> Prompts:
    """Prompts whose coordinates lie in 0…1, in pixels of the photo."""
    assert prompts.coords is not None
    return replace(prompts, coords=prompts.coords * prompts.coords.new_tensor([photo[1], photo[0]]))


def _look(
    closer: SAM2ImagePredictor, window: Window, prompts: Prompts, i: int, several: bool, photo: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Prompt i answered in the window: logits (M,h,w) of its pixels, IoU (M)."""
    assert prompts.coords is not None
    assert prompts.labels is not None
    points, labels = prompts.coords[i], prompts.labels[i]
    seen = window.holds(points) | (labels == 2) | (labels == 3)
    corner = points.new_tensor([window.left, window.top])
    mask = None
    if prompts.masks is not None:
        mask = _enlarged(prompts.masks[i if len(prompts.masks) > 1 else 0][None], window, photo).to(closer.device)
    coords = closer._transforms.transform_coords(
        (points[seen] - corner).to(closer.device)[None], normalize=True, orig_hw=(window.height, window.width)
    )
    logits, ious, _ = closer._predict(coords, labels[seen].to(closer.device)[None], None, mask, several, True)
    return logits[0].float().cpu().numpy(), ious[0].float().cpu().numpy()


def _enlarged(mask: Tensor, window: Window, photo: tuple[int, int]) -> Tensor:
    """The part of a photo's mask (1,1,h,w) that lies in a window, at the size of the whole: bilinear."""
    H, W = photo
    across, down = window.width / W, window.height / H
    right, below = (2 * window.left + window.width) / W - 1, (2 * window.top + window.height) / H - 1
    place = mask.new_tensor([[[across, 0, right], [0, down, below]]])
    grid = F.affine_grid(place, list(mask.shape), align_corners=False)
    return F.grid_sample(mask, grid, padding_mode="border", align_corners=False)


def _shrunk(logits: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Logits (M,H,W) of a photo as low-resolution ones: (M,h,w)."""
    whole = torch.from_numpy(logits)[None]
    small = F.interpolate(whole, size, mode="bilinear", align_corners=False, antialias=True)[0]
    return small.clamp(-LOGIT_LIMIT, LOGIT_LIMIT).numpy()
