"""Mask decoder: prompts and an image embedding in; masks, their IoU, tokens and an object score out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samphony.model.config import MaskDecoderConfig
from samphony.model.layers import MLP, LayerNorm2d
from samphony.model.linear import eager_inference
from samphony.model.two_way_transformer import TwoWayTransformer
from samphony.model.upscaling import masks_in_picture_order, upscale_tokens

ABSENT_SCORE_CONSTANT = 10.0  # the object score of a decoder that does not predict one: always there


@dataclass(frozen=True)
class DecodedTokens:
    """What the transformer says of B prompts.

    mask_tokens: (B,1+M,C). ious: (B,1+M). object_score: logits (B,1). image: the embedding after reading the prompts,
    (B,C,h,w).
    """

    mask_tokens: Tensor
    ious: Tensor
    object_score: Tensor
    image: Tensor

    def select(self, rows: Tensor) -> DecodedTokens:
        """Some of the prompts, by index or boolean."""
        return DecodedTokens(self.mask_tokens[rows], self.ious[rows], self.object_score[rows], self.image[rows])


class MaskDecoder(nn.Module):
    """Predicts one mask or several from prompts.

    Args:
        transformer_dim: C.
        config: its sizes and options.
        use_multimask_token_for_obj_ptr: with several masks, their own tokens become object pointers.
    """

    def __init__(
        self, transformer_dim: int, config: MaskDecoderConfig, use_multimask_token_for_obj_ptr: bool = False
    ) -> None:
        super().__init__()
        C = transformer_dim
        self.transformer_dim = C
        self.transformer = TwoWayTransformer(
            config.depth, C, config.num_heads, config.mlp_dim, config.attention_downsample_rate
        )
        self.num_multimask_outputs = config.num_multimask_outputs
        self.num_mask_tokens = config.num_multimask_outputs + 1
        self.iou_token = nn.Embedding(1, C)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, C)
        self.pred_obj_scores = config.pred_obj_scores
        if config.pred_obj_scores:
            self.obj_score_token = nn.Embedding(1, C)
            self.pred_obj_score_head = MLP(C, C, 1, 3)
        self.use_multimask_token_for_obj_ptr = use_multimask_token_for_obj_ptr
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(C, C // 4, 2, stride=2),
            LayerNorm2d(C // 4),
            nn.GELU(),
            nn.ConvTranspose2d(C // 4, C // 8, 2, stride=2),
            nn.GELU(),
        )
        self.use_high_res_features = config.use_high_res_features
        if config.use_high_res_features:
            self.conv_s0 = nn.Conv2d(C, C // 8, 1)
            self.conv_s1 = nn.Conv2d(C, C // 4, 1)
        self.output_hypernetworks_mlps = nn.ModuleList(MLP(C, C, C // 8, 3) for _ in range(self.num_mask_tokens))
        self.iou_prediction_head = MLP(
            C,
            config.iou_head_hidden_dim,
            self.num_mask_tokens,
            config.iou_head_depth,
            sigmoid_output=config.iou_prediction_use_sigmoid,
        )
        self.dynamic_multimask_via_stability = config.dynamic_multimask_via_stability
        self.dynamic_multimask_stability_delta = config.dynamic_multimask_stability_delta
        self.dynamic_multimask_stability_thresh = config.dynamic_multimask_stability_thresh

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
        repeat_image: bool,
        high_res_features: Sequence[Tensor] | None = None,
        prompt_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Predict masks.

        Args:
            image_embeddings: (B,C,h,w), or (1,C,h,w) with ``repeat_image``: one image under all B prompts.
            image_pe: (1,C,h,w).
            sparse_prompt_embeddings: (B,T,C).
            dense_prompt_embeddings: (B,C,h,w).
            multimask_output: three masks, or one.
            repeat_image: see above.
            high_res_features: (B or 1,C/8,4h,4w) and (B or 1,C/4,2h,2w).
            prompt_mask: (B,T), False for sparse tokens that only fill a batch of unequal prompts.

        Returns:
            logits (B,M,4h,4w), IoU (B,M), tokens for object pointers (B,M or 1,C), object score logits (B,1).
        """
        masks, ious, tokens, object_score = self.predict_masks(
            image_embeddings,
            image_pe,
            sparse_prompt_embeddings,
            dense_prompt_embeddings,
            repeat_image,
            high_res_features,
            prompt_mask,
        )
        if multimask_output:
            masks, ious = masks[:, 1:], ious[:, 1:]
        elif self.dynamic_multimask_via_stability and not self.training:
            masks, ious = self._dynamic_multimask_via_stability(masks, ious)
        else:
            masks, ious = masks[:, :1], ious[:, :1]
        # The single mask's pointer is token 0's even where the stability fallback took another mask.
        several = multimask_output and self.use_multimask_token_for_obj_ptr
        return masks, ious, tokens[:, 1:] if several else tokens[:, :1], object_score

    def predict_masks(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        repeat_image: bool,
        high_res_features: Sequence[Tensor] | None = None,
        prompt_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All masks: logits (B,1+M,4h,4w), IoU (B,1+M), mask tokens (B,1+M,C), object score logits (B,1)."""
        decoded = self.read_image(
            image_embeddings, image_pe, sparse_prompt_embeddings, dense_prompt_embeddings, repeat_image, prompt_mask
        )
        masks = self.draw_masks(decoded, high_res_features)
        return masks, decoded.ious, decoded.mask_tokens, decoded.object_score

    def read_image(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        repeat_image: bool,
        prompt_mask: Tensor | None = None,
    ) -> DecodedTokens:
        """All that is known before a mask is drawn: its predicted IoU first of all."""
        B = sparse_prompt_embeddings.shape[0]
        if not repeat_image and image_embeddings.shape[0] != B:
            raise ValueError(f"image_embeddings has batch {image_embeddings.shape[0]}, the prompts have {B}")
        tokens = torch.cat((self._output_tokens().expand(B, -1, -1), sparse_prompt_embeddings), dim=1)
        # One image and one dense prompt under all prompts stay a batch of one until the tokens differ.
        dense = _unrepeat(dense_prompt_embeddings)
        src = self.join(image_embeddings, dense)
        if prompt_mask is not None:
            prompt_mask = F.pad(prompt_mask, (tokens.shape[1] - prompt_mask.shape[1], 0), value=True)
        hs, image = self.transformer(src, image_pe[:1], tokens, prompt_mask)

        first = 1 if self.pred_obj_scores else 0
        iou_token = hs[:, first]
        if self.pred_obj_scores:
            object_score = self.pred_obj_score_head(hs[:, 0])
        else:
            object_score = ABSENT_SCORE_CONSTANT * iou_token.new_ones(B, 1)
        return DecodedTokens(
            mask_tokens=hs[:, first + 1 : first + 1 + self.num_mask_tokens],
            ious=self.iou_prediction_head(iou_token),
            object_score=object_score,
            image=image.transpose(1, 2).unflatten(2, src.shape[-2:]),
        )

    def join(self, image_embeddings: Tensor, dense_prompt_embeddings: Tensor) -> Tensor:
        """What the transformer reads: the embedding with the dense prompt, (B,C,h,w)."""
        return image_embeddings + dense_prompt_embeddings

    def draw_masks(self, decoded: DecodedTokens, high_res_features: Sequence[Tensor] | None = None) -> Tensor:
        """The logits of all masks, (B,1+M,4h,4w): the costly half of the decoder."""
        weights = self._mask_weights(decoded)
        if self.use_high_res_features and high_res_features is not None and eager_inference(weights):
            image = decoded.image.permute(0, 2, 3, 1)
            tokens = upscale_tokens(self.output_upscaling, image, high_res_features)
            return masks_in_picture_order(weights @ tokens.transpose(1, 2), (image.shape[1], image.shape[2]))
        upscaled = self._upscale(decoded.image, high_res_features)
        masks: Tensor = (weights @ upscaled.flatten(2)).unflatten(2, upscaled.shape[-2:])
        return masks

    def _mask_weights(self, decoded: DecodedTokens) -> Tensor:
        """What each mask weighs the upscaled channels with, (B,1+M,C/8)."""
        mlps = enumerate(self.output_hypernetworks_mlps)
        return torch.stack([mlp(decoded.mask_tokens[:, i]) for i, mlp in mlps], dim=1)

    def _output_tokens(self) -> Tensor:
        """(1, [object score], IoU, masks; C)."""
        own = [self.iou_token.weight, self.mask_tokens.weight]
        if self.pred_obj_scores:
            own.insert(0, self.obj_score_token.weight)
        return torch.cat(own)[None]

    def _upscale(self, src: Tensor, high_res_features: Sequence[Tensor] | None) -> Tensor:
        """(B,C,h,w) → (B,C/8,4h,4w), the finer levels added on the way."""
        if not self.use_high_res_features or high_res_features is None:
            return self.output_upscaling(src)
        up1, norm, gelu, up2, _ = self.output_upscaling
        s0, s1 = high_res_features
        return gelu(up2(gelu(norm(up1(src) + s1))) + s0)

    def _get_stability_scores(self, mask_logits: Tensor) -> Tensor:
        """Share of pixels above +delta among those above -delta: (…,H,W) → (…); 1 where there are none."""
        flat, delta = mask_logits.flatten(-2), self.dynamic_multimask_stability_delta
        inner = (flat > delta).sum(-1).float()
        outer = (flat > -delta).sum(-1).float()
        return torch.where(outer > 0, inner / outer, 1.0)

    def _dynamic_multimask_via_stability(
        self, all_mask_logits: Tensor, all_iou_scores: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The single mask where it is stable, else the best of the others by IoU: (B,1,H,W), (B,1)."""
        best = all_iou_scores[:, 1:].argmax(dim=-1) + 1
        stable = self._get_stability_scores(all_mask_logits[:, 0]) >= self.dynamic_multimask_stability_thresh
        pick = torch.where(stable, 0, best)
        row = torch.arange(pick.shape[0], device=pick.device)
        return all_mask_logits[row, pick][:, None], all_iou_scores[row, pick][:, None]


def _unrepeat(x: Tensor) -> Tensor:
    """A batch that is one element repeated without a copy (stride 0), as that one element."""
    return x[:1] if x.shape[0] > 1 and x.stride(0) == 0 else x
