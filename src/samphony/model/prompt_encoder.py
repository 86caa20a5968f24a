"""Prompt encoder: clicks and boxes as sparse tokens, a mask as a dense map.

Source: Kirillov et al., "Segment Anything" (2023), with SAM 2's constants. Coordinates are pixels of the model's input;
+0.5 moves them to pixel centres here, after any scaling by the caller.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samphony.model.layers import LayerNorm2d
from samphony.model.position import PositionEmbeddingRandom

NUM_POINT_EMBEDDINGS = 4  # negative, positive, box top-left, box bottom-right


class PromptEncoder(nn.Module):
    """Encodes prompts for the mask decoder.

    Args:
        embed_dim: C.
        image_embedding_size: (h, w).
        input_image_size: (H, W) in pixels.
        mask_in_chans: hidden channels of the mask downscaling.
    """

    def __init__(
        self,
        embed_dim: int,
        image_embedding_size: tuple[int, int],
        input_image_size: tuple[int, int],
        mask_in_chans: int,
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.input_image_size = input_image_size
        self.image_embedding_size = image_embedding_size
        self.pe_layer = PositionEmbeddingRandom(embed_dim // 2)
        self.num_point_embeddings = NUM_POINT_EMBEDDINGS
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, embed_dim) for _ in range(NUM_POINT_EMBEDDINGS))
        self.not_a_point_embed = nn.Embedding(1, embed_dim)
        self.mask_input_size = (4 * image_embedding_size[0], 4 * image_embedding_size[1])
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_in_chans // 4, 2, stride=2),
            LayerNorm2d(mask_in_chans // 4),
            nn.GELU(),
            nn.Conv2d(mask_in_chans // 4, mask_in_chans, 2, stride=2),
            LayerNorm2d(mask_in_chans),
            nn.GELU(),
            nn.Conv2d(mask_in_chans, embed_dim, 1),
        )
        self.no_mask_embed = nn.Embedding(1, embed_dim)
        self._dense_pe: tuple[object, Tensor] | None = None

    def get_dense_pe(self) -> Tensor:
        """The position code of the embedding's cells, (1,C,h,w)."""
        matrix = self.pe_layer.positional_encoding_gaussian_matrix
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or matrix.is_inference():
            return self.pe_layer(self.image_embedding_size)[None]
        key = (matrix.data_ptr(), matrix._version, matrix.dtype, matrix.device, self.image_embedding_size)
        if self._dense_pe is None or self._dense_pe[0] != key:
            with torch.inference_mode(False), torch.no_grad():
                pe = self.pe_layer(self.image_embedding_size)[None]
                # Channels last: the mask decoder reads it cell by cell.
                self._dense_pe = (key, pe.contiguous(memory_format=torch.channels_last))
        return self._dense_pe[1]

    def forward(
        self,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Encode prompts.

        Args:
            points: coordinates (B,N,2) as x, y in input pixels and labels (B,N): 1 in, 0 out, 2 and 3 a box's corners
                top-left and bottom-right, -1 padding; any other label is a bare position.
            boxes: (B,4) as x0, y0, x1, y1: the way of SAM 1. SAM 2 gives boxes as points with labels 2 and 3.
            masks: logits (B,1,4h,4w).

        Returns:
            sparse (B,T,C), with a padding token appended when there are points and no ``boxes``; dense (B,C,h,w).
        """
        B = self._get_batch_size(points, boxes, masks)
        device = self.not_a_point_embed.weight.device
        sparse = torch.empty((B, 0, self.embed_dim), device=device)
        if points is not None:
            sparse = self._embed_points(*points, pad=boxes is None)
        if boxes is not None:
            sparse = torch.cat((sparse, self._embed_boxes(boxes)), dim=1)
        return sparse, self._embed_dense(masks, B)

    def _embed_dense(self, masks: Tensor | None, batch_size: int) -> Tensor:
        if masks is not None:
            return self._embed_masks(masks)
        return self.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(batch_size, -1, *self.image_embedding_size)

    def _embed_points(self, points: Tensor, labels: Tensor, pad: bool) -> Tensor:
        points = points + 0.5
        if pad:
            points = F.pad(points, (0, 0, 0, 1))
            labels = F.pad(labels, (0, 1), value=-1)
        code = self.pe_layer.forward_with_coords(points, self.input_image_size)
        code = code.masked_fill((labels == -1)[..., None], 0.0)  # padding has no place
        bare = torch.zeros_like(code[0, :1])
        table = torch.cat((self.not_a_point_embed.weight, self._label_embeddings(), bare))
        known = (labels >= -1) & (labels < self.num_point_embeddings)
        index = torch.where(known, labels + 1, table.shape[0] - 1).long()
        return code + table[index]

    def _embed_boxes(self, boxes: Tensor) -> Tensor:
        corners = (boxes + 0.5).reshape(-1, 2, 2)
        code = self.pe_layer.forward_with_coords(corners, self.input_image_size)
        return code + self._label_embeddings()[2:]

    def _label_embeddings(self) -> Tensor:
        """(4,C), by label."""
        return torch.cat([e.weight for e in self.point_embeddings.children() if isinstance(e, nn.Embedding)])

    def _embed_masks(self, masks: Tensor) -> Tensor:
        return self.mask_downscaling(masks)

    def _get_batch_size(self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, masks: Tensor | None) -> int:
        for given in (points[0] if points is not None else None, boxes, masks):
            if given is not None:
                return given.shape[0]
        return 1
