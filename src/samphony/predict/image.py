"""SAM2ImagePredictor: segment an object in a photo from clicks, a box or a mask.

Official signatures and return shapes; what goes beyond them is documented at each method. ``set_image`` encodes a photo
once; each ``predict`` then only decodes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from samphony.errors import PromptError, StateError
from samphony.media.photo import ChannelOrder, PhotoLike, load_photo
from samphony.model.base import SAM2Base
from samphony.predict.embedding_file import load_embedding, save_embedding
from samphony.predict.heap import holes
from samphony.predict.prompts import ArrayLike, Prompts, read_prompts
from samphony.predict.ready import require_weights
from samphony.predict.transforms import SAM2Transforms

FloatArray = npt.NDArray[np.float32]
Prediction = tuple[FloatArray, FloatArray, FloatArray]
"""Masks, predicted IoU, low-resolution logits."""

LOGIT_LIMIT = 32.0
"""Low-resolution logits are returned within ±32; full-size masks come from the unclamped ones."""

PROMPTS_PER_CALL = 32
"""Prompts over several images that are decoded together; bounds the memory of repeated embeddings."""


class SAM2ImagePredictor:
    """The image door.

    Args:
        sam_model: a model, as ``build_sam2`` makes it.
        mask_threshold: logit above which a pixel belongs to the mask.
        max_hole_area: holes of at most so many pixels of the low-resolution mask are filled, on every device.
        max_sprinkle_area: islands of at most so many pixels are removed, on every device.
    """

    def __init__(
        self,
        sam_model: SAM2Base,
        mask_threshold: float = 0.0,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
        **_: Any,
    ) -> None:
        self.model = sam_model
        self.mask_threshold = mask_threshold
        self._features: dict[str, Any] = {}
        self._orig_hw: list[tuple[int, int]] = []
        self._is_image_set = self._is_batch = False
        self._transforms = SAM2Transforms(
            sam_model.image_size, mask_threshold, max_hole_area=max_hole_area, max_sprinkle_area=max_sprinkle_area
        )

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> SAM2ImagePredictor:
        """The predictor of a released model, fetched once and cached.

        Args:
            model_id: ``"facebook/sam2.1-hiera-tiny"``, ``"tiny"``, ``"nano"``, …
            kwargs: for ``build_sam2_hf`` (``device`` …) and for the predictor (``mask_threshold`` …).
        """
        from samphony.predict.build import build_sam2_hf

        return cls(build_sam2_hf(model_id, **kwargs), **kwargs)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    @property
    def _bb_feat_sizes(self) -> list[tuple[int, int]]:
        """Official name: (h,w) of the three levels, fine to coarse."""
        h, w = self.model.sam_prompt_encoder.image_embedding_size
        return [(4 * h, 4 * w), (2 * h, 2 * w), (h, w)]

    @property
    def max_hole_area(self) -> float:
        """See the constructor; can be set."""
        return self._transforms.max_hole_area

    @max_hole_area.setter
    def max_hole_area(self, value: float) -> None:
        self._transforms.max_hole_area = value

    @property
    def max_sprinkle_area(self) -> float:
        """See the constructor; can be set."""
        return self._transforms.max_sprinkle_area

    @max_sprinkle_area.setter
    def max_sprinkle_area(self, value: float) -> None:
        self._transforms.max_sprinkle_area = value

    # ------------------------------------------------------------------ images

    def set_image(self, image: PhotoLike, channel_order: ChannelOrder = "rgb") -> None:
        """Encode a photo; its prompts follow.

        Args:
            image: a path, encoded bytes, a Pillow image of any mode, an array (H,W), (H,W,1|3|4) of uint8, uint16,
                bool or float, or a torch tensor. Floats are taken as they are, in 0…1.
            channel_order: ``"bgr"`` for arrays in OpenCV's order.

        Raises:
            MediaError: a file that cannot be read. PromptError: an array that is no picture.
        """
        self._encode([load_photo(image, channel_order=channel_order, keep_float=True)])
        self._is_batch = False

    def set_image_batch(self, image_list: Sequence[PhotoLike], channel_order: ChannelOrder = "rgb") -> None:
        """Encode photos of any sizes together; ``predict_batch`` takes their prompts."""
        if not isinstance(image_list, (list, tuple)):
            raise PromptError("image_list must be a list of pictures; for a single one call set_image")
        pictures = [load_photo(image, channel_order=channel_order, keep_float=True) for image in image_list]
        if not pictures:
            raise PromptError("image_list is empty: give at least one picture")
        self._encode(pictures)
        self._is_batch = True

    def _encode(self, pictures: list[npt.NDArray[Any]]) -> None:
        require_weights(self.model)
        self.reset_predictor()
        holes.hand_back()
        with torch.inference_mode():
            batch = torch.stack([self._transforms.normalise(p) for p in pictures])
            features = self.model.forward_image(batch.to(self.device))
            embedding = self.model.no_memory_embedding(features)
        # Copies made outside inference mode are ordinary tensors: callers can train the decoder on them. The decoder
        # reads them cell by cell, so channels lie together.
        self._features = {
            "image_embed": embedding.clone(memory_format=torch.channels_last),
            "high_res_feats": [level.clone(memory_format=torch.channels_last) for level in features.high_res],
        }
        self._orig_hw = [(p.shape[0], p.shape[1]) for p in pictures]
        self._is_image_set = True

    def get_image_embedding(self) -> Tensor:
        """The embedding of the photo, (1,C,h,w) ((B,C,h,w) after ``set_image_batch``)."""
        self._require_image()
        embedding: Tensor = self._features["image_embed"]
        return embedding

    def save_image_embedding(self, path: str | os.PathLike[str]) -> None:
        """Write what ``set_image`` made as safetensors, so that a photo need be encoded only once."""
        self._require_image()
        save_embedding(
            path, self._features["image_embed"], self._features["high_res_feats"], self._orig_hw, self.model.config
        )

    def load_image_embedding(self, path: str | os.PathLike[str]) -> None:
        """Take up where ``save_image_embedding`` left off, without the photo.

        Raises:
            CheckpointError: the file is missing, damaged, or was made by another model.
        """
        embedding, high_res, sizes = load_embedding(path, self.model.config, self.device)
        self._features = {"image_embed": embedding, "high_res_feats": high_res}
        self._orig_hw = sizes
        self._is_image_set, self._is_batch = True, len(sizes) > 1

    def reset_predictor(self) -> None:
        """Forget the photo."""
        self._is_image_set = False
        self._features = {}
        self._orig_hw = []
        self._is_batch = False

    def _require_image(self) -> None:
        if not self._is_image_set:
            raise StateError("An image must be set with .set_image(...) before mask prediction.")

    # ------------------------------------------------------------------ prompts

    def predict(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> Prediction:
        """Predict masks for one prompt or several.

        Args:
            point_coords: clicks (N,2), or (B,N,2) for B prompts, x y in pixels of the photo.
            point_labels: (N) or (B,N): 1 in the object, 0 outside.
            box: (4) or (B,4), x0 y0 x1 y1; may come with points of the same B.
            mask_input: a mask of any size, boolean or logits; (H,W), (1,H,W) or (B,1,H,W).
            multimask_output: three candidates, best where a prompt is ambiguous; or one.
            return_logits: logits instead of 0 and 1.
            normalize_coords: coordinates are pixels of the photo; otherwise they are already in 0…1.

        Returns:
            masks (M,H,W) float32, IoU (M), low-res logits (M,4h,4w) within ±32, to be given as ``mask_input``. For
            B > 1 prompts each has a leading B.

        Raises:
            StateError: no image is set. PromptError: names the argument that cannot be used.
        """
        self._require_image()
        if self._is_batch:
            raise StateError("set_image_batch was called: use predict_batch, or set_image for one photo")
        prompts = self._read(point_coords, point_labels, box, mask_input)
        with torch.inference_mode():
            return self._decode([prompts], [0], multimask_output, return_logits, normalize_coords)[0]

    def predict_batch(
        self,
        point_coords_batch: Sequence[ArrayLike | None] | None = None,
        point_labels_batch: Sequence[ArrayLike | None] | None = None,
        box_batch: Sequence[ArrayLike | None] | None = None,
        mask_input_batch: Sequence[ArrayLike | None] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> tuple[list[FloatArray], list[FloatArray], list[FloatArray]]:
        """``predict`` for the photos of ``set_image_batch``; each argument is a list with one entry a photo.

        Photos may have different numbers of prompts and prompts different numbers of points: they are decoded together.
        """
        self._require_image()
        if not self._is_batch:
            raise StateError("predict_batch needs photos set with set_image_batch; for one photo use predict")
        count = len(self._orig_hw)
        given = {
            "point_coords_batch": point_coords_batch,
            "point_labels_batch": point_labels_batch,
            "box_batch": box_batch,
            "mask_input_batch": mask_input_batch,
        }
        for name, batch in given.items():
            if batch is not None and len(batch) != count:
                raise PromptError(f"{name} must have one entry for each of the {count} photos, got {len(batch)}")
        prompts = []
        for i in range(count):
            points, labels, box, mask = (None if batch is None else batch[i] for batch in given.values())
            a, b, c, d = (f"{name}[{i}]" for name in given)
            prompts.append(self._read(points, labels, box, mask, (a, b, c, d)))
        with torch.inference_mode():
            results = self._decode(prompts, list(range(count)), multimask_output, return_logits, normalize_coords)
        masks, ious, low_res = zip(*results, strict=True)
        return list(masks), list(ious), list(low_res)

    def _read(
        self,
        point_coords: ArrayLike | None,
        point_labels: ArrayLike | None,
        box: ArrayLike | None,
        mask_input: ArrayLike | None,
        names: tuple[str, str, str, str] = ("point_coords", "point_labels", "box", "mask_input"),
    ) -> Prompts:
        size = self.model.sam_prompt_encoder.mask_input_size
        return read_prompts(point_coords, point_labels, box, mask_input, size, names)

    def _decode(
        self,
        prompts: list[Prompts],
        images: list[int],
        multimask_output: bool,
        return_logits: bool,
        normalize_coords: bool,
    ) -> list[Prediction]:
        """Decode the prompts of each image; those of several images share decoder calls."""
        if len(images) == 1:
            coords, labels, masks = self._to_device(prompts[0], images[0], normalize_coords)
            return [_to_numpy(*self._predict(coords, labels, None, masks, multimask_output, return_logits, images[0]))]
        from samphony.predict.ragged import decode_ragged

        placed = [self._to_device(p, i, normalize_coords) for p, i in zip(prompts, images, strict=True)]
        decoded = decode_ragged(self.model, self._features, placed, multimask_output, PROMPTS_PER_CALL)
        return [
            _to_numpy(*self._finish(low_res, ious, return_logits, i))
            for (low_res, ious), i in zip(decoded, images, strict=True)
        ]

    def _to_device(
        self, prompts: Prompts, img_idx: int, normalize_coords: bool
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        masks = None if prompts.masks is None else prompts.masks.to(self.device)
        if prompts.coords is None or prompts.labels is None:
            return None, None, masks
        coords = self._transforms.transform_coords(
            prompts.coords.to(self.device), normalize=normalize_coords, orig_hw=self._orig_hw[img_idx]
        )
        return coords, prompts.labels.to(self.device), masks

    def _prep_prompts(
        self,
        point_coords: ArrayLike | None,
        point_labels: ArrayLike | None,
        box: ArrayLike | None,
        mask_logits: ArrayLike | None,
        normalize_coords: bool,
        img_idx: int = -1,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """The official preparation: mask logits, coordinates in pixels of the input, labels, box corners."""
        mask, coords, labels, corners = None, None, None, None
        hw = self._orig_hw[img_idx]
        if point_coords is not None:
            points = self._read(point_coords, point_labels, None, None)
            coords, labels, _ = self._to_device(points, img_idx, normalize_coords)
        if box is not None:
            boxes = self._read(None, None, box, None).coords
            assert boxes is not None
            corners = self._transforms.transform_coords(boxes.to(self.device), normalize_coords, hw)
        if mask_logits is not None:
            read = self._read(None, None, None, mask_logits).masks
            assert read is not None
            mask = read.to(self.device)
        return mask, coords, labels, corners

    @torch.no_grad()
    def _predict(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        img_idx: int = -1,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The official inner call on tensors.

        Args:
            point_coords: (B,N,2) in pixels of the network's input. point_labels: (B,N).
            boxes: corners (B,2,2) or (B,4), likewise.
            mask_input: logits (B or 1,1,4h,4w).
            img_idx: which of the photos.

        Returns:
            masks (B,M,H,W) boolean (or logits), IoU (B,M), low-res logits (B,M,4h,4w).
        """
        self._require_image()
        points = None if point_coords is None or point_labels is None else (point_coords, point_labels)
        if boxes is not None:
            corners = boxes.reshape(-1, 2, 2)
            corner_labels = torch.tensor([[2, 3]], dtype=torch.int32, device=boxes.device).expand(len(corners), -1)
            if points is None:
                points = (corners, corner_labels)
            else:
                points = (torch.cat((corners, points[0]), 1), torch.cat((corner_labels, points[1].int()), 1))
        sparse, dense = self.model.sam_prompt_encoder(points=points, boxes=None, masks=mask_input)
        low_res, ious, _, _ = self.model.sam_mask_decoder(
            image_embeddings=self._features["image_embed"][img_idx].unsqueeze(0),
            image_pe=self.model.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask_output,
            repeat_image=True,
            high_res_features=[level[img_idx].unsqueeze(0) for level in self._features["high_res_feats"]],
        )
        return self._finish(low_res, ious, return_logits, img_idx)

    def _finish(
        self, low_res: Tensor, ious: Tensor, return_logits: bool, img_idx: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        masks = self._transforms.postprocess_masks(low_res, self._orig_hw[img_idx])
        if not return_logits:
            masks = masks > self.mask_threshold
        return masks, ious, low_res.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)


def _to_numpy(masks: Tensor, ious: Tensor, low_res: Tensor) -> Prediction:
    """Arrays as officially returned: float32 also for masks, without the batch of a single prompt."""
    first, second, third = (t.squeeze(0).float().cpu().numpy() for t in (masks, ious, low_res))
    return first, second, third
