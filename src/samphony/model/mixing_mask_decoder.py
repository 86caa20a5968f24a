"""The nano's mask decoder: the official one, with convolutions over the embedding once the prompt is in it.

The official decoder's image cells meet one another only through a few tokens; which cells belong together is left to a
large trunk. A small trunk knows less of objects, and answers with everything that looks alike. Here the prompt spreads
over neighbouring cells of like features first. The official upscaling has no pixel meet another either: each cell's
token alone says what its sixteen pixels are. Here blocks at both finer levels let the mask follow the picture's edges.
Interface and parameters of `MaskDecoder` stay; ``mixing.*`` and ``refining.*`` are added.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from samphony.model.config import MaskDecoderConfig
from samphony.model.mask_decoder import DecodedTokens, MaskDecoder
from samphony.model.memory_encoder import CXBlock

_FIRST_SCALE = 0.1
"""Of the blocks' residuals: little at first, but enough for gradients."""


class MixingMaskDecoder(MaskDecoder):
    """A mask decoder with ``config.mixing_blocks`` before its transformer and ``config.refining_blocks`` behind it."""

    def __init__(
        self, transformer_dim: int, config: MaskDecoderConfig, use_multimask_token_for_obj_ptr: bool = False
    ) -> None:
        super().__init__(transformer_dim, config, use_multimask_token_for_obj_ptr)
        C, expansion = transformer_dim, config.mixing_expansion
        self.mixing = _blocks(C, config.mixing_blocks, expansion)
        middle, fine = config.refining_blocks
        self.refines = middle + fine > 0
        self.refining = nn.ModuleList((_blocks(C // 4, middle, expansion), _blocks(C // 8, fine, expansion)))

    def join(self, image_embeddings: Tensor, dense_prompt_embeddings: Tensor) -> Tensor:
        """The embedding with the dense prompt, mixed over its neighbourhood: (B,C,h,w)."""
        joined = super().join(image_embeddings, dense_prompt_embeddings)
        # Depthwise convolutions and norms over channels find these together: a third less time, forth and back.
        mixed: Tensor = self.mixing(joined.contiguous(memory_format=torch.channels_last))
        return mixed

    def draw_masks(self, decoded: DecodedTokens, high_res_features: Sequence[Tensor] | None = None) -> Tensor:
        """The logits of all masks, (B,1+M,4h,4w)."""
        if not self.refines:
            return super().draw_masks(decoded, high_res_features)
        upscaled = self._upscale(decoded.image, high_res_features)
        masks: Tensor = (self._mask_weights(decoded) @ upscaled.flatten(2)).unflatten(2, upscaled.shape[-2:])
        return masks

    def _upscale(self, src: Tensor, high_res_features: Sequence[Tensor] | None) -> Tensor:
        up1, norm, gelu, up2, _ = self.output_upscaling
        x = up1(src.contiguous(memory_format=torch.channels_last))
        s0, s1 = (0.0, 0.0) if high_res_features is None else high_res_features
        x = up2(self.refining[0](gelu(norm(x + s1))))
        refined: Tensor = self.refining[1](gelu(x + s0))
        return refined


def _blocks(dim: int, count: int, expansion: int) -> nn.Sequential:
    blocks = nn.Sequential()
    for _ in range(count):
        block = CXBlock(dim, expansion)
        with torch.no_grad():
            block.gamma.fill_(_FIRST_SCALE)
        blocks.append(block)
    return blocks
