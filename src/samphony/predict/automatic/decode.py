"""Clicks on an encoded picture to low-resolution candidates, none drawn whose predicted IoU is too low.

The mask decoder says a mask's IoU before it draws the mask, and drawing is a good part of its work. Prompts are encoded
a batch at a time and decoded in groups so small that on a CPU the group's buffers stay in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from samphony.model.mask_decoder import MaskDecoder
from samphony.predict.image import LOGIT_LIMIT, SAM2ImagePredictor

CPU_GROUP_FLOATS = 4 << 20
"""Embedding numbers of a group of prompts on a CPU: 4 prompts of a 1024-pixel model. Larger groups are slower there."""


@dataclass(frozen=True)
class Candidates:
    """K masks whose predicted IoU is high enough.

    low_res: logits (K,h,w) float32. ious: (K) float32. click: index of each one's click (K). judged: the IoU of all
    masks of these clicks, those left out too.
    """

    low_res: Tensor
    ious: Tensor
    click: Tensor
    judged: Tensor


@dataclass(frozen=True)
class ClickDecoder:
    """Decodes single positive clicks on picture ``img_idx`` of a predictor.

    multimask: three candidates a click, or one.
    min_iou: candidates must have a higher predicted IoU; 0 or less: no limit.
    """

    predictor: SAM2ImagePredictor
    img_idx: int
    multimask: bool
    min_iou: float

    def decode(self, points: Tensor) -> Iterator[Candidates]:
        """Candidates of clicks (P,2) in pixels of the network's input, group by group, click by click."""
        sparse, dense = self._encoder(points)
        for group in self._groups(len(points)):
            clicks = torch.arange(len(points), device=points.device)[group]
            if self.multimask:
                yield self._decode_several(sparse[group], dense[group], clicks)
            else:
                yield self._select(*self._decode_single(sparse[group], dense[group]), clicks)

    def refine(self, points: Tensor, candidates: Candidates) -> Iterator[Candidates]:
        """Decode each candidate once more, with its click and its own logits as mask prompt: "mask to mask".

        Args:
            points: as for ``decode``, one for each candidate.
            candidates: unfiltered; the result replaces mask and IoU.
        """
        prompts = candidates.low_res.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)[:, None]
        for group in self._groups(len(points)):
            sparse, dense = self._encoder(points[group], prompts[group])
            yield self._select(*self._decode_single(sparse, dense), candidates.click[group])

    def unfiltered(self) -> ClickDecoder:
        """The same without a limit to the IoU."""
        return ClickDecoder(self.predictor, self.img_idx, self.multimask, min_iou=0.0)

    def _encoder(self, points: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        labels = torch.ones(len(points), 1, dtype=torch.int32, device=points.device)
        encoded: tuple[Tensor, Tensor] = self.predictor.model.sam_prompt_encoder(
            points=(points[:, None], labels), boxes=None, masks=masks
        )
        return encoded

    def _decode_several(self, sparse: Tensor, dense: Tensor, clicks: Tensor) -> Candidates:
        decoder, embedding, high_res = self._decoder, self._embedding, self._high_res
        decoded = decoder.read_image(embedding, self._dense_pe, sparse, dense, repeat_image=True)
        ious = decoded.ious[:, 1:].float()  # (B,3): mask 0 is the single one
        keep = self._keep(ious)
        some = keep.any(dim=1)
        if not bool(some.any()):
            return Candidates(embedding.new_empty(0, *self._low_size).float(), ious[keep], clicks[:0], ious.flatten())
        masks = decoder.draw_masks(decoded.select(some), high_res)[:, 1:].float()  # (B',3,h,w)
        return Candidates(masks[keep[some]], ious[keep], clicks[:, None].expand_as(keep)[keep], ious.flatten())

    def _decode_single(self, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B,h,w) and IoU (B). Which mask it is depends on its stability, so that all are drawn."""
        low_res, ious, _, _ = self._decoder(
            self._embedding, self._dense_pe, sparse, dense, False, True, high_res_features=self._high_res
        )
        return low_res[:, 0].float(), ious[:, 0].float()

    def _select(self, low_res: Tensor, ious: Tensor, clicks: Tensor) -> Candidates:
        keep = self._keep(ious)
        return Candidates(low_res[keep], ious[keep], clicks[keep], ious)

    def _keep(self, ious: Tensor) -> Tensor:
        return ious > self.min_iou if self.min_iou > 0 else torch.ones_like(ious, dtype=torch.bool)

    def _groups(self, count: int) -> Iterator[slice]:
        """0…count-1 in groups: small ones on a CPU, all together on an accelerator."""
        embedding = self._embedding
        size = count if embedding.device.type != "cpu" else max(1, CPU_GROUP_FLOATS // embedding[0].numel())
        return (slice(i, i + size) for i in range(0, count, max(1, size)))

    @property
    def _decoder(self) -> MaskDecoder:
        return self.predictor.model.sam_mask_decoder

    @property
    def _dense_pe(self) -> Tensor:
        return self.predictor.model.sam_prompt_encoder.get_dense_pe()

    @property
    def _embedding(self) -> Tensor:
        embedding: Tensor = self.predictor._features["image_embed"][self.img_idx][None]
        return embedding

    @property
    def _high_res(self) -> list[Tensor]:
        return [level[self.img_idx][None] for level in self.predictor._features["high_res_feats"]]

    @property
    def _low_size(self) -> tuple[int, int]:
        return self.predictor.model.sam_prompt_encoder.mask_input_size
