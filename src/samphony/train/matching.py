"""Teaching the attention to memories to find a place again by what is there.

Trained from a start that looks at the same place (``localise_memory``), a small network does not learn it by itself: it
follows what moves little, and loses the rest. Here the first attention is told where every cell of a moved copy of a
picture was. Rotary positions turn half of the dimensions of queries and keys hardly at all within a picture, so their
products can depend on content alone: those begin as the best linear guess of the picture's features (ridge regression),
then queries, keys and the memory encoder learn by gradient (InfoNCE; van den Oord et al., 2018). What is read from a
memory stays what it was.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from samphony.errors import ConfigError
from samphony.model.base import SAM2Base
from samphony.model.features import ImageFeatures
from samphony.model.memory import PointerMemory, Recall, SpatialMemory
from samphony.model.memory_attention import RoPEAttention
from samphony.model.memory_encoder import EncodedMemory
from samphony.train.photos import PhotoBatch, PhotoSampler

_LIKENESS = 25.0
"""Attention logit of equal content, to begin with."""
_LOCALITY = 0.5
"""Share that is left of the products of the other dimensions, which know places."""
_RIDGE = 1e-4
_BATCH = 6
_RATE = 1e-3
_POINTERS = 4
"""Object pointers beside the memory, at most: tokens that no cell should find itself in."""


@dataclass(frozen=True)
class Seen:
    """A memory of P pictures, and what the first attention is given of them and of other frames.

    queries: (P,N,C). keys: (P,T,Cm), the last ``pointers`` of them pointers. memory: (P,Cm,h,w). masks: (P,T-pointers),
    share of the remembered object in each key's cell.
    """

    queries: Tensor
    keys: Tensor
    memory: Tensor
    masks: Tensor
    pointers: int


def match_content(
    model: SAM2Base, photos: PhotoSampler, size: int, seed: int, steps: int, report: Callable[[str], Any] = print
) -> None:
    """Teach queries and keys of the first attention to memories, and the memory encoder, on pictures.

    Args:
        model: a network with one attention head whose encoder and decoder are trained.
        photos: where pictures and their masks come from. size: pixels a side.
        seed: of pictures and motions. steps: of gradient, after the regression.
        report: receives a line from time to time.
    """
    attention = _first_attention(model)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            _begin(model, attention, photos, size, seed)
        _learn(model, attention, photos, size, seed, steps, report)
    finally:
        model.train(was_training)


def slow_dimensions(head_dim: int) -> Tensor:
    """Dimensions of a head that rotary positions turn least: the later half of each axis's."""
    axis = head_dim // 2
    later = torch.arange(axis // 2, axis)
    return torch.cat((later, axis + later))


def _first_attention(model: SAM2Base) -> RoPEAttention:
    attention = model.memory_attention.layers[0].cross_attn_image  # type: ignore[index,union-attr]
    if not isinstance(attention, RoPEAttention) or attention.num_heads != 1:
        raise ConfigError("clips.match_content needs a memory attention of one head; this model has another")
    if is_parametrized(attention.q_proj):
        raise ConfigError("clips.match_content replaces weights that lora keeps: leave one of them out")
    return attention


def _see(
    model: SAM2Base,
    attention: RoPEAttention,
    remembered: ImageFeatures,
    frame: ImageFeatures,
    masks: Tensor,
    pointers: Sequence[PointerMemory] = (),
    age: int = 1,
) -> Seen:
    """What the attention is given for ``frame``, with a memory of another frame and one mask (P,1,S,S) of each."""
    memory = _memory(model, remembered, masks)
    recall = Recall((SpatialMemory(memory.features, memory.position, model.num_maskmem - age),), tuple(pointers), 15)
    inputs: list[Any] = []
    hook = attention.register_forward_pre_hook(lambda _, args: inputs.extend(args))
    try:
        model.condition_on_memory(frame, recall)
    finally:
        hook.remove()
    queries, keys, _, _, excluded, _ = inputs
    cells = F.adaptive_avg_pool2d(masks.float(), (memory.features.shape[-2], memory.features.shape[-1])).flatten(1)
    return Seen(queries, keys, memory.features, cells, excluded)


def _memory(model: SAM2Base, features: ImageFeatures, masks: Tensor) -> EncodedMemory:
    """The memory of frames with a mask (P,1,S,S) each."""
    there = torch.full((len(masks), 1), 10.0, device=masks.device)
    return model.encode_memory(features, 20.0 * masks.float() - 10.0, there, is_mask_from_pts=False)


# ------------------------------------------------------------------ a start by regression


def _begin(model: SAM2Base, attention: RoPEAttention, photos: PhotoSampler, size: int, seed: int) -> None:
    """Let the slow dimensions of queries and keys give the frame's features."""
    shown: list[Tensor] = []
    pooled: list[Tensor] = []
    queries: list[Tensor] = []
    keys: list[Tensor] = []
    for step in range(40):
        batch = photos.batch(seed, step, _BATCH, size)
        features: ImageFeatures = model.forward_image(batch.images.to(model.device))
        seen = _see(model, attention, features, features, _one_mask(batch, model.device))
        whole = features["vision_features"]
        small = F.adaptive_avg_pool2d(whole, (seen.memory.shape[-2], seen.memory.shape[-1]))
        for gathered, x in ((shown, whole), (pooled, small)):
            gathered.append(x.flatten(2).transpose(1, 2).flatten(0, 1))
        queries.append(seen.queries.flatten(0, 1))
        keys.append(seen.keys.flatten(0, 1))
    features_of_queries = torch.cat(shown)
    axes, middle = _principal_axes(features_of_queries, attention.head_dim // 2), features_of_queries.mean(dim=0)
    slow, scale = slow_dimensions(attention.head_dim), (_LIKENESS * attention.head_dim**0.5) ** 0.5
    for projection, inputs, found in (
        (attention.q_proj, torch.cat(queries), features_of_queries),
        (attention.k_proj, torch.cat(keys), torch.cat(pooled)),
    ):
        weight, bias = _ridge(inputs, F.normalize((found - middle) @ axes, dim=1))
        projection.weight.mul_(_LOCALITY**0.5)
        projection.bias.mul_(_LOCALITY**0.5)
        projection.weight[slow] = scale * weight
        projection.bias[slow] = scale * bias


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


# ------------------------------------------------------------------ then by gradient


def _learn(
    model: SAM2Base,
    attention: RoPEAttention,
    photos: PhotoSampler,
    size: int,
    seed: int,
    steps: int,
    report: Callable[[str], Any],
) -> None:
    encoder = model.memory_encoder
    assert isinstance(encoder, nn.Module)
    learnt = [*attention.q_proj.parameters(), *attention.k_proj.parameters(), *encoder.parameters()]
    were_trained = [p.requires_grad for p in learnt]
    for p in learnt:
        p.requires_grad_(True)
    before_learning = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(learnt, lr=_RATE, weight_decay=0.01)
    rng = np.random.default_rng((seed, 6))
    share = 0.0
    for step in range(steps):
        rate = _RATE * min(1.0, (step + 1) / 30) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, found = _pair_loss(model, attention, before_learning, photos.batch(seed, 1000 + step, _BATCH, size), rng)
        for p, gradient in zip(learnt, torch.autograd.grad(loss, learnt, allow_unused=True), strict=True):
            p.grad = gradient
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        share += (float(found) - share) * max(0.05, 1 / (step + 1))
        if (step + 1) % 50 == 0:
            report(f"attention to memories: {step + 1} of {steps} steps, {share:.2f} of moved cells found")
    for p, trained in zip(learnt, were_trained, strict=True):
        p.grad = None
        p.requires_grad_(trained)


def _pair_loss(
    model: SAM2Base, attention: RoPEAttention, before_learning: SAM2Base, batch: PhotoBatch, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Loss of a batch of pictures and moved copies of them, and the share of cells whose strongest key is right."""
    masks, P = _one_mask(batch, model.device), len(batch.images)
    motion = _motions(P, rng).to(model.device)
    grid = F.affine_grid(motion, list(batch.images.shape), align_corners=False)
    images = batch.images.to(model.device)
    with torch.no_grad():
        copies = _recoloured(F.grid_sample(images, grid, padding_mode="reflection", align_corners=False), rng)
        both: ImageFeatures = model.forward_image(torch.cat((_recoloured(images, rng), copies)))
        before, after = (
            ImageFeatures([x[part] for x in both.levels], [p[:1] for p in both.positions])
            for part in (slice(0, P), slice(P, None))
        )
        pointer = model.track_step(before, recall=None, mask_inputs=masks.float(), run_memory_encoder=False).obj_ptr
        old = _memory(before_learning, before, masks).features
    pointers = [PointerMemory(pointer, float(1 + age)) for age in range(int(rng.integers(1, _POINTERS + 1)))]
    age = int(rng.integers(1, model.num_maskmem + 1))
    seen = _see(model, attention, before, after, masks, pointers, age)
    side, small = after["vision_features"].shape[-1], seen.memory.shape[-1]
    q, k = attention.queries_and_keys(seen.queries, seen.keys, (side, side), seen.pointers, side // small)
    likely = (q @ k.transpose(-1, -2))[:, 0].mul(attention.head_dim**-0.5).log_softmax(dim=-1)  # (P,N,T)

    at, inside = _origins(motion, side, small)
    corner = at.floor().clamp(0, small - 2)
    along = (at - corner).clamp(0, 1)
    first = (corner[..., 1] * small + corner[..., 0]).long()
    right, down = along.unbind(-1)
    four = (
        (0, (1 - right) * (1 - down)),
        (1, right * (1 - down)),
        (small, (1 - right) * down),
        (small + 1, right * down),
    )
    nll = -sum((share * likely.gather(-1, (first + i)[..., None])[..., 0] for i, share in four), likely.new_zeros(()))
    # Few cells are the object's, and its mask hides what is there: they count as much as all others.
    objects = sum((share * seen.masks.gather(1, first + i) for i, share in four), likely.new_zeros(()))
    weight = (objects / objects[inside].mean().clamp(min=0.02) + 1 - objects)[inside]
    loss = (nll[inside] * weight).sum() / weight.sum() + _change(model, seen.memory, old)
    best = likely[..., : small * small].argmax(dim=-1)
    away = torch.stack((best % small - at[..., 0], best // small - at[..., 1])).abs().amax(dim=0)
    return loss, (away <= 1.5)[inside].float().mean()


def _change(model: SAM2Base, memory: Tensor, old: Tensor) -> Tensor:
    """How far what the other projections read from memories (P,Cm,h,w) has moved, relative to its own spread."""
    total = memory.new_zeros(())
    spread = old - old.mean(dim=(0, 2, 3), keepdim=True)
    for i, layer in enumerate(model.memory_attention.layers):  # type: ignore[arg-type]
        attention: Any = layer.cross_attn_image
        for projection in (attention.v_proj, attention.k_proj) if i else (attention.v_proj,):
            weight = projection.weight.detach()
            moved, usual = (torch.einsum("oc,pchw->pohw", weight, x) for x in (memory - old, spread))
            total = total + moved.square().mean() / usual.square().mean()
    return total


def _motions(count: int, rng: np.random.Generator) -> Tensor:
    """Affine matrices (count,2,3), place in the copy → place in the picture in -1…1: most jump, some hardly move."""
    made = []
    for _ in range(count):
        turn, scale = rng.normal(0, 0.12), float(np.exp(rng.normal(0, 0.12)))
        x, y = rng.normal(0, 0.35 if rng.random() < 0.6 else 0.06, 2)
        cos, sin = scale * math.cos(turn), scale * math.sin(turn)
        made.append([[cos, -sin, x], [sin, cos, y]])
    return torch.tensor(made, dtype=torch.float32)


def _origins(motion: Tensor, side: int, small: int) -> tuple[Tensor, Tensor]:
    """For the cells of moved copies: where they were, in cells of the memory (P,N,2), and whether in the picture."""
    centres = (torch.arange(side, device=motion.device) + 0.5) / side * 2 - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    places = torch.stack((x, y, torch.ones_like(x)), dim=-1).flatten(0, 1)
    was = torch.einsum("pij,nj->pni", motion, places)
    return (was + 1) / 2 * small - 0.5, (was.abs() < 1 - 1 / small).all(dim=-1)


def _recoloured(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Normalised pictures a little lighter or darker, with a little more or less contrast."""
    gain, shift = (torch.from_numpy(rng.normal(at, 0.08, (len(images), 1, 1, 1))).to(images) for at in (1.0, 0.0))
    return images * gain + shift


def _one_mask(batch: PhotoBatch, device: torch.device) -> Tensor:
    """The first object of each picture: (P,1,S,S) bool."""
    return batch.masks[:: len(batch.masks) // len(batch.images), None].to(device)
