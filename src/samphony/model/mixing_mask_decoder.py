"""The nano's mask decoder: the official one, with convolutions over the embedding once the prompt is in it.

The official decoder's image cells meet one another only through a few tokens; which cells belong together is left to a
large trunk. A small trunk knows less of objects, and answers with everything that looks alike. Here the prompt spreads
over neighbouring cells of like features first. Interface and parameters of `MaskDecoder` stay; ``mixing.*`` is added.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from samphony.model.config import MaskDecoderConfig
from samphony.model.mask_decoder import MaskDecoder
from samphony.model.memory_encoder import CXBlock

_FIRST_SCALE = 0.1
"""Of the blocks' residuals: little at first, but enough for gradients."""


class MixingMaskDecoder(MaskDecoder):
    """A mask decoder with ``config.mixing_blocks`` ConvNeXt blocks before its transformer."""

    def __init__(
        self, transformer_dim: int, config: MaskDecoderConfig, use_multimask_token_for_obj_ptr: bool = False
    ) -> None:
        super().__init__(transformer_dim, config, use_multimask_token_for_obj_ptr)
        self.mixing = nn.Sequential(
            *(CXBlock(transformer_dim, config.mixing_expansion) for _ in range(config.mixing_blocks))
        )
        for block in self.mixing:
            assert isinstance(block, CXBlock)
            with torch.no_grad():
                block.gamma.fill_(_FIRST_SCALE)

    def join(self, image_embeddings: Tensor, dense_prompt_embeddings: Tensor) -> Tensor:
        """The embedding with the dense prompt, mixed over its neighbourhood: (B,C,h,w)."""
        joined = super().join(image_embeddings, dense_prompt_embeddings)
        # Depthwise convolutions and norms over channels find these together: a third less time, forth and back.
        mixed: Tensor = self.mixing(joined.contiguous(memory_format=torch.channels_last))
        return mixed
