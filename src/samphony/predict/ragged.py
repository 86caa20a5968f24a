"""Prompts of unequal number and length, over several images, in few decoder calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from samphony.model.base import SAM2Base

PlacedPrompts = tuple[Tensor | None, Tensor | None, Tensor | None]
"""Points (B,N,2) in pixels of the input, labels (B,N), mask logits (B or 1,1,4h,4w)."""


@dataclass(frozen=True)
class _Encoded:
    sparse: Tensor  # (B,T,C)
    dense: Tensor  # (B or 1,C,h,w)
    image: int


def decode_ragged(
    model: SAM2Base,
    features: dict[str, Any],
    prompts: Sequence[PlacedPrompts],
    multimask_output: bool,
    prompts_per_call: int,
) -> list[tuple[Tensor, Tensor]]:
    """Decode the prompts of each image together.

    Shorter prompts are filled up with tokens that no other attends to: the numbers are those of separate calls.

    Args:
        model: prompt encoder and mask decoder are used.
        features: ``image_embed`` (I,C,h,w) and ``high_res_feats`` of I images.
        prompts: one entry for each image.
        multimask_output: as for the decoder.
        prompts_per_call: at most so many prompts share a call.

    Returns:
        for each image low-res logits (B,M,4h,4w) and IoU (B,M).
    """
    encoded = [_encode(model, entry, i) for i, entry in enumerate(prompts)]
    counts = [e.sparse.shape[0] for e in encoded]
    longest = max(e.sparse.shape[1] for e in encoded)
    sparse = torch.cat([F.pad(e.sparse, (0, 0, 0, longest - e.sparse.shape[1])) for e in encoded])
    lengths = torch.tensor([e.sparse.shape[1] for e in encoded for _ in range(e.sparse.shape[0])])
    image = torch.tensor([e.image for e in encoded for _ in range(e.sparse.shape[0])], device=sparse.device)
    real = (torch.arange(longest)[None] < lengths[:, None]).to(sparse.device)  # (B,T)
    filled = bool((lengths < longest).any())

    low_res, ious = [], []
    for start in range(0, len(image), prompts_per_call):
        part = slice(start, start + prompts_per_call)
        pick = image[part]
        masks, scores, _, _ = model.sam_mask_decoder(
            image_embeddings=features["image_embed"][pick],
            image_pe=model.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse[part],
            dense_prompt_embeddings=_dense(encoded, part),
            multimask_output=multimask_output,
            repeat_image=False,
            high_res_features=[level[pick] for level in features["high_res_feats"]],
            prompt_mask=real[part] if filled else None,
        )
        low_res.append(masks)
        ious.append(scores)
    return list(zip(torch.cat(low_res).split(counts), torch.cat(ious).split(counts), strict=True))


def _encode(model: SAM2Base, prompts: PlacedPrompts, image: int) -> _Encoded:
    coords, labels, masks = prompts
    points = None if coords is None or labels is None else (coords, labels)
    sparse, dense = model.sam_prompt_encoder(points=points, boxes=None, masks=masks)
    return _Encoded(sparse, dense, image)


def _dense(encoded: Sequence[_Encoded], part: slice) -> Tensor:
    """The dense prompts of a slice of all prompts."""
    rows, start = [], 0
    for e in encoded:
        n = e.sparse.shape[0]
        first, last = max(part.start - start, 0), min(part.stop - start, n)
        if first < last:
            rows.append(e.dense.expand(n, -1, -1, -1)[first:last])
        start += n
    return torch.cat(rows)
