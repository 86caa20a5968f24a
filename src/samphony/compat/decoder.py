"""``sam2.modeling.sam`` and the layers it shares, with official constructors."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from samphony.compat.official import Official, as_function
from samphony.model import layers, mask_decoder, prompt_encoder, two_way_transformer
from samphony.model.config import MaskDecoderConfig
from samphony.model.linear import Linear

Activation = type[nn.Module] | Callable[[Tensor], Tensor]


class MLP(layers.MLP, metaclass=Official):
    """The activation is given by its class."""

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        output_dim: int,
        num_layers: int,
        activation: Activation = nn.ReLU,
        sigmoid_output: bool = False,
    ) -> None:
        super().__init__(input_dim, hidden_dim, output_dim, num_layers, as_function(activation), sigmoid_output)
        self.num_layers = num_layers


class DropPath(layers.DropPath, metaclass=Official):
    """With ``scale_by_keep=False`` what is kept is not scaled up."""

    def __init__(self, drop_prob: float = 0.0, scale_by_keep: bool = True) -> None:
        super().__init__(drop_prob)
        self.scale_by_keep = scale_by_keep

    def forward(self, x: Tensor) -> Tensor:
        kept = super().forward(x)
        return kept if self.scale_by_keep or kept is x else kept * (1.0 - self.drop_prob)


class Attention(two_way_transformer.Attention, metaclass=Official):
    """Keys and values may have a width of their own; ``dropout`` is 0 in every released model."""

    def __init__(
        self,
        embedding_dim: int,
        num_heads: int,
        downsample_rate: int = 1,
        dropout: float = 0.0,
        kv_in_dim: int | None = None,
    ) -> None:
        super().__init__(embedding_dim, num_heads, downsample_rate)
        self.dropout_p = dropout
        self.kv_in_dim = embedding_dim if kv_in_dim is None else kv_in_dim
        if self.kv_in_dim != embedding_dim:
            self.k_proj = Linear(self.kv_in_dim, self.internal_dim)
            self.v_proj = Linear(self.kv_in_dim, self.internal_dim)


class TwoWayAttentionBlock(two_way_transformer.TwoWayAttentionBlock, metaclass=Official):
    """The activation of the MLP may be chosen."""

    def __init__(
        self,
        embedding_dim: int,
        num_heads: int,
        mlp_dim: int = 2048,
        activation: Activation = nn.ReLU,
        attention_downsample_rate: int = 2,
        skip_first_layer_pe: bool = False,
    ) -> None:
        super().__init__(embedding_dim, num_heads, mlp_dim, attention_downsample_rate, skip_first_layer_pe)
        self.mlp.activation = as_function(activation)


class TwoWayTransformer(two_way_transformer.TwoWayTransformer, metaclass=Official):
    """The activation of the MLPs may be chosen."""

    def __init__(
        self,
        depth: int,
        embedding_dim: int,
        num_heads: int,
        mlp_dim: int,
        activation: Activation = nn.ReLU,
        attention_downsample_rate: int = 2,
    ) -> None:
        super().__init__(depth, embedding_dim, num_heads, mlp_dim, attention_downsample_rate)
        self.depth, self.embedding_dim, self.num_heads, self.mlp_dim = depth, embedding_dim, num_heads, mlp_dim
        for layer in self.layers:
            layer.mlp.activation = as_function(activation)  # type: ignore[union-attr]


class PromptEncoder(prompt_encoder.PromptEncoder, metaclass=Official):
    """The activation of the mask downscaling may be chosen."""

    def __init__(
        self,
        embed_dim: int,
        image_embedding_size: tuple[int, int],
        input_image_size: tuple[int, int],
        mask_in_chans: int,
        activation: type[nn.Module] = nn.GELU,
    ) -> None:
        height, width = image_embedding_size
        super().__init__(embed_dim, (height, width), input_image_size, mask_in_chans)
        if activation is not nn.GELU:
            for i in (2, 5):
                self.mask_downscaling[i] = activation()


class MaskDecoder(mask_decoder.MaskDecoder, metaclass=Official):
    """Around a transformer that is given."""

    def __init__(
        self,
        *,
        transformer_dim: int,
        transformer: nn.Module,
        num_multimask_outputs: int = 3,
        activation: type[nn.Module] = nn.GELU,
        iou_head_depth: int = 3,
        iou_head_hidden_dim: int = 256,
        use_high_res_features: bool = False,
        iou_prediction_use_sigmoid: bool = False,
        dynamic_multimask_via_stability: bool = False,
        dynamic_multimask_stability_delta: float = 0.05,
        dynamic_multimask_stability_thresh: float = 0.98,
        pred_obj_scores: bool = False,
        pred_obj_scores_mlp: bool = False,
        use_multimask_token_for_obj_ptr: bool = False,
    ) -> None:
        config = MaskDecoderConfig(
            depth=0,  # the transformer is put in below
            num_heads=1,
            attention_downsample_rate=1,
            num_multimask_outputs=num_multimask_outputs,
            iou_head_depth=iou_head_depth,
            iou_head_hidden_dim=iou_head_hidden_dim,
            iou_prediction_use_sigmoid=iou_prediction_use_sigmoid,
            use_high_res_features=use_high_res_features,
            pred_obj_scores=pred_obj_scores,
            dynamic_multimask_via_stability=dynamic_multimask_via_stability,
            dynamic_multimask_stability_delta=dynamic_multimask_stability_delta,
            dynamic_multimask_stability_thresh=dynamic_multimask_stability_thresh,
        )
        super().__init__(transformer_dim, config, use_multimask_token_for_obj_ptr)
        self.transformer = transformer  # type: ignore[assignment]
        if pred_obj_scores and not pred_obj_scores_mlp:
            self.pred_obj_score_head = nn.Linear(transformer_dim, 1)  # type: ignore[assignment]
        if activation is not nn.GELU:
            for i in (2, 4):
                self.output_upscaling[i] = activation()
