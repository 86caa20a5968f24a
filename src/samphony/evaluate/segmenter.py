"""What the click evaluation asks of a model; SAM2Base and the image door as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samphony.model.base import SAM2Base
from samphony.model.features import ImageFeatures
from samphony.predict.heap import holes
from samphony.predict.image import SAM2ImagePredictor

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Answer:
    """Masks of N objects: logits (N,M,H,W) at the picture's size, ious (N,M) predicted, low_res (N,M,h,w) logits."""

    logits: Tensor
    ious: Tensor
    low_res: Tensor

    def best(self) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N,H,W), predicted IoU (N,), low-res logits (N,h,w) of the mask with the best predicted IoU."""
        pick = self.ious.argmax(dim=1)
        row = torch.arange(len(pick), device=pick.device)
        return self.logits[row, pick], self.ious[row, pick], self.low_res[row, pick]


class Segmenter(Protocol):
    """A promptable segmenter of one picture at a time."""

    def set_image(self, image: NDArray[np.uint8]) -> None:
        """Take a picture (H,W,3)."""

    def answer(self, coords: Tensor, labels: Tensor, previous: Tensor | None, several: bool) -> Answer:
        """Segment N objects.

        Args:
            coords: (N,K,2) in pixels of the picture. labels: (N,K), 2 and 3 for a box's corners.
            previous: low-res logits (N,h,w) of an earlier answer.
            several: three masks, or one.
        """


class ModelSegmenter:
    """SAM2Base without any post-processing, as the official protocol has it; the multi-mask fallback is off."""

    def __init__(self, model: SAM2Base) -> None:
        self.model = model
        self._features: ImageFeatures | None = None
        self._size = (0, 0)

    @torch.inference_mode()
    def set_image(self, image: NDArray[np.uint8]) -> None:
        """Encode a picture (H,W,3)."""
        holes.hand_back()
        S = self.model.image_size
        x = torch.from_numpy(np.array(image)).to(self.model.device).permute(2, 0, 1)[None].float() / 255
        if x.shape[-2:] != (S, S):
            x = F.interpolate(x, (S, S), mode="bilinear", align_corners=False, antialias=True)
        x = (x - x.new_tensor(_MEAN)[:, None, None]) / x.new_tensor(_STD)[:, None, None]
        self._features = self.model.forward_image(x)
        self._size = (image.shape[0], image.shape[1])

    @torch.inference_mode()
    def answer(self, coords: Tensor, labels: Tensor, previous: Tensor | None, several: bool) -> Answer:
        """Segment N objects of the picture."""
        assert self._features is not None, "set_image comes first"
        model, features = self.model, self._features
        H, W = self._size
        scale = coords.new_tensor([model.image_size / W, model.image_size / H])
        sparse, dense = model.sam_prompt_encoder(
            points=((coords * scale).to(model.device), labels.to(model.device)),
            boxes=None,
            masks=None if previous is None else previous[:, None].clamp(-32, 32),
        )
        low_res, ious, _, _ = model.sam_mask_decoder.predict_masks(
            image_embeddings=model.no_memory_embedding(features),
            image_pe=model.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            repeat_image=True,
            high_res_features=features.high_res,
        )
        kept = slice(1, None) if several else slice(0, 1)
        low_res, ious = low_res[:, kept].float(), ious[:, kept].float()
        logits = F.interpolate(low_res, (H, W), mode="bilinear", align_corners=False)
        return Answer(logits.cpu(), ious.cpu(), low_res)


class DoorSegmenter:
    """An image predictor as people use it, with whatever it does beyond the network."""

    def __init__(self, predictor: SAM2ImagePredictor) -> None:
        self.predictor = predictor

    def set_image(self, image: NDArray[np.uint8]) -> None:
        """Encode a picture (H,W,3)."""
        self.predictor.set_image(image)

    def answer(self, coords: Tensor, labels: Tensor, previous: Tensor | None, several: bool) -> Answer:
        """Segment N objects of the picture."""
        found = self.predictor.predict(
            coords, labels, mask_input=previous, multimask_output=several, return_logits=True
        )
        logits, ious, low_res = (torch.from_numpy(x if len(coords) > 1 else x[None]) for x in found)
        return Answer(logits, ious, low_res)
