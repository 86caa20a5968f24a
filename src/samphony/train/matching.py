"""A start for the attention to memories that finds a place again by what is there.

Rotary positions turn half of the dimensions of queries and keys hardly at all within a picture: products of those
depend on content alone. Fitted so that both give the picture's features, one from the frame and one from the memory,
they make the attention find what has moved. From a start that looks at the same place (``localise_memory``) a small
network does not learn it by itself: it follows what moves little, and loses the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.parametrize import is_parametrized

from samphony.errors import ConfigError
from samphony.model.base import SAM2Base
from samphony.model.features import ImageFeatures
from samphony.model.memory import Recall, SpatialMemory
from samphony.model.memory_attention import RoPEAttention
from samphony.train.photos import PhotoBatch, PhotoSampler

_LIKENESS = 25.0
"""Attention logit of equal content."""
_LOCALITY = 0.5
"""Share that is left of the products of the other dimensions, which know places."""
_RIDGE = 1e-4
_BATCH = 8


def match_content(model: SAM2Base, photos: PhotoSampler, size: int, seed: int, pictures: int = 240) -> None:
    """Fit queries and keys of the first attention to memories, by ridge regression on pictures.

    The rest of the network is left as it is: what memories hold and what is done with it.

    Args:
        model: a network of one attention head, trained on pictures.
        photos: where pictures and their masks come from. size: pixels a side.
        seed: of the pictures drawn. pictures: how many are looked at.
    """
    attention = model.memory_attention.layers[0].cross_attn_image  # type: ignore[index,union-attr]
    if not isinstance(attention, RoPEAttention) or attention.num_heads != 1:
        raise ConfigError("clips.match_content needs a memory attention of one head; this model has another")
    if is_parametrized(attention.q_proj):
        raise ConfigError("clips.match_content replaces weights that lora keeps: leave one of them out")
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            steps = range(-(-pictures // _BATCH))
            seen = [_look(model, attention, photos.batch(seed, step, _BATCH, size)) for step in steps]
            queries, keys = (_joined(parts) for parts in zip(*seen, strict=True))
            axes = _principal_axes(queries.features, attention.head_dim // 2)
            middle = queries.features.mean(dim=0)
            slow = slow_dimensions(attention.head_dim)
            scale = (_LIKENESS * attention.head_dim**0.5) ** 0.5
            for projection, cells in ((attention.q_proj, queries), (attention.k_proj, keys)):
                weight, bias = _ridge(cells.inputs, F.normalize((cells.features - middle) @ axes, dim=1))
                projection.weight.mul_(_LOCALITY**0.5)
                projection.bias.mul_(_LOCALITY**0.5)
                projection.weight[slow] = scale * weight
                projection.bias[slow] = scale * bias
    finally:
        model.train(was_training)


def slow_dimensions(head_dim: int) -> Tensor:
    """Dimensions of a head that rotary positions turn least: the later half of each axis's."""
    axis = head_dim // 2
    later = torch.arange(axis // 2, axis)
    return torch.cat((later, axis + later))


@dataclass(frozen=True)
class _Cells:
    """What n cells show, (n,C), and what a projection is given of them, (n,·)."""

    features: Tensor
    inputs: Tensor


def _joined(parts: Sequence[_Cells]) -> _Cells:
    return _Cells(torch.cat([p.features for p in parts]), torch.cat([p.inputs for p in parts]))


def _look(model: SAM2Base, attention: RoPEAttention, batch: PhotoBatch) -> tuple[_Cells, _Cells]:
    """The cells of a batch's pictures as queries, and as keys of their memories."""
    device, pictures = model.device, len(batch.images)
    features: ImageFeatures = model.forward_image(batch.images.to(device))
    masks = batch.masks[:: len(batch.masks) // pictures, None].to(device)  # one object each
    seen = torch.full((pictures, 1), 10.0, device=device)
    memory = model.encode_memory(features, 20.0 * masks.float() - 10.0, seen, is_mask_from_pts=False)
    recall = Recall((SpatialMemory(memory.features, memory.position, model.num_maskmem - 1),), (), 1)
    inputs: list[Tensor] = []
    hook = attention.register_forward_pre_hook(lambda _, args: inputs.extend(args[:2]))
    try:
        model.condition_on_memory(features, recall)
    finally:
        hook.remove()
    shown = features["vision_features"]
    pooled = F.adaptive_avg_pool2d(shown, (memory.features.shape[-2], memory.features.shape[-1]))
    queries, keys = (x.flatten(2).transpose(1, 2).flatten(0, 1) for x in (shown, pooled))
    return _Cells(queries, inputs[0].flatten(0, 1)), _Cells(keys, inputs[1].flatten(0, 1))


def _principal_axes(features: Tensor, dimensions: int) -> Tensor:
    """The strongest axes (C,d) of (n,C), half whitened, so that small differences count too."""
    centred = (features - features.mean(dim=0)).double()
    values, axes = torch.linalg.eigh(centred.T @ centred / len(centred))
    strongest = values.argsort(descending=True)[:dimensions]
    return (axes[:, strongest] / values[strongest].clamp(min=1e-12) ** 0.25).to(features.dtype)


def _ridge(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (out,in) and bias (out,) that predict y (n,out) from x (n,in)."""
    ones = torch.cat((x, x.new_ones(len(x), 1)), dim=1).double()
    products = ones.T @ ones
    products.diagonal().add_(_RIDGE * products.diagonal().mean())
    found = torch.linalg.solve(products, ones.T @ y.double()).to(x.dtype)
    return found[:-1].T, found[-1]
