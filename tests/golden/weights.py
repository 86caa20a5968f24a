"""Weights that need no file: every float32 follows from a seed and a key's name and shape, bit for bit, on any machine.

Word ``i`` of numpy's Philox4x64-10 generator, keyed with crc32("seed/key"), gives value ``i`` of a key: its four 16-bit
parts are added (a bell of variance 1 after centring and scaling), then ``float32(mean + std · z)``. Only integers and
correctly rounded float64 arithmetic take part. Mean and spread of each kind of parameter are chosen so that the random
network is alive: a click acts near its place, scores and stability vary, tracking contracts.

The official package was run with these weights; what it gave is stored beside the cases.
"""

from __future__ import annotations

import hashlib
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

FloatArray = npt.NDArray[np.float32]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Kind:
    """Parameters whose name matches ``pattern``: mean and spread, or a gain over the square root of the fan-in."""

    pattern: str
    std: float | None = None
    gain: float | None = None
    mean: float = 0.0

    def spread(self, key: str, shape: tuple[int, ...]) -> float:
        """Standard deviation for a tensor of this kind."""
        if self.std is not None:
            return self.std
        assert self.gain is not None
        return self.gain / math.sqrt(_fan_in(key, shape))


KINDS = (  # the first that matches counts
    Kind(r"trunk\.pos_embed$", std=0.35),
    Kind(r"trunk\.pos_embed_window$", std=0.20),
    Kind(r"patch_embed\.proj\.weight", gain=1.0),
    Kind(r"trunk\..*attn\.qkv\.weight", gain=1.25),
    Kind(r"trunk\..*attn\.proj\.weight|trunk\..*mlp\.layers\.1\.weight", gain=0.8),
    Kind(r"neck\.convs\.[01]\..*weight", gain=0.25),
    Kind(r"neck\.convs\.[23]\..*weight", gain=0.5),
    Kind(r"maskmem_tpos_enc", std=0.35),
    Kind(r"no_mem_embed|no_mem_pos_enc", std=0.30),
    Kind(r"no_obj_ptr|no_obj_embed_spatial", std=0.6),
    Kind(r"positional_encoding_gaussian_matrix", std=0.9),
    Kind(r"(point_embeddings\.\d|not_a_point_embed)\.weight", std=0.4),
    Kind(r"no_mask_embed\.weight", std=0.3),
    Kind(r"(iou_token|mask_tokens|obj_score_token)\.weight", std=0.7),
    Kind(r"memory_attention\..*(q_proj|k_proj)\.weight", gain=1.5),
    Kind(r"memory_attention\..*(out_proj|linear1)\.weight", gain=1.2),
    Kind(r"memory_attention\..*linear2\.weight", gain=0.7),
    Kind(r"fuser\..*gamma", std=0.1, mean=0.4),
    Kind(r"memory_encoder\.out_proj\.weight", gain=0.8),
    Kind(r"memory_encoder\.pix_feat_proj\.weight", gain=1.2),
    Kind(r"memory_attention\.norm\.weight", std=0.07, mean=0.7),
    Kind(r"^mask_downsample\.weight", gain=4.0),
    Kind(r"obj_ptr_proj\.layers\.[01]\.weight", gain=1.4),
    Kind(r"obj_ptr_(proj\.layers\.2|tpos_proj)\.weight", gain=1.0),
    Kind(r"sam_mask_decoder\.transformer\..*image_to_token\.(q_proj|k_proj)\.weight", gain=1.9),
    Kind(r"sam_mask_decoder\.transformer\..*(q_proj|k_proj)\.weight", gain=1.5),
    Kind(r"sam_mask_decoder\.transformer\..*out_proj\.weight", gain=1.2),
    Kind(r"sam_mask_decoder\.transformer\..*norm4\.weight", std=0.05, mean=0.55),
    Kind(r"output_upscaling\.0\.weight", gain=2.0),
    Kind(r"output_upscaling\.3\.weight", gain=1.0),
    Kind(r"conv_s[01]\.weight", gain=0.4),
    Kind(r"hypernetworks_mlps\.\d\.layers\.[01]\.weight", gain=1.4),
    Kind(r"hypernetworks_mlps\.\d\.layers\.2\.weight", gain=2.5),
    Kind(r"hypernetworks_mlps\.\d\.layers\.2\.bias", std=0.1, mean=-0.15),
    Kind(r"iou_prediction_head\.layers\.[01]\.weight", gain=1.4),
    Kind(r"iou_prediction_head\.layers\.2\.weight", gain=1.5),
    Kind(r"pred_obj_score_head\.layers\.[01]\.weight", gain=1.4),
    Kind(r"pred_obj_score_head\.layers\.2\.weight", gain=3.0),
    Kind(r"pred_obj_score_head\.layers\.2\.bias", std=0.0, mean=4.0),
)
BIAS = Kind("", std=0.05)
NORM = Kind("", std=0.1, mean=1.0)
PLAIN = Kind("", gain=1.0)

# These attentions look for what is similar: their keys repeat most of their queries' projection.
_TIED = re.compile(
    r"(sam_mask_decoder\.transformer\..*(cross_attn|final_attn).*|memory_attention\..*self_attn)\.k_proj\.weight"
)
_TIE = 0.95
# The four taps of a transposed convolution are similar, which avoids a chequerboard.
_TAPS = re.compile(r"output_upscaling\.[03]\.weight")


def _fan_in(key: str, shape: tuple[int, ...]) -> int:
    return shape[0] if _TAPS.search(key) else math.prod(shape[1:])


def _kind(key: str, shape: tuple[int, ...]) -> Kind:
    for kind in KINDS:
        if re.search(kind.pattern, key):
            return kind
    if key.endswith("bias"):
        return BIAS
    return NORM if len(shape) == 1 else PLAIN


def _bell(seed: int, key: str, count: int) -> npt.NDArray[np.float64]:
    words = np.random.Philox(key=zlib.crc32(f"{seed}/{key}".encode())).random_raw(count)
    low = np.uint64(0xFFFF)
    total = sum(((words >> np.uint64(16 * part)) & low).astype(np.int64) for part in range(4))
    return (total - 131070).astype(np.float64) * (math.sqrt(3.0) / 65536.0)


def values(key: str, shape: tuple[int, ...], seed: int = 0, shift: float = 0.0) -> FloatArray:
    """The parameter of a name and shape; ``shift`` is added to all of it before rounding."""
    count = math.prod(shape)
    z = _bell(seed, key, count)
    if _TIED.search(key):
        z = _TIE * _bell(seed, key.replace("k_proj", "q_proj"), count) + math.sqrt(1.0 - _TIE * _TIE) * z
    if _TAPS.search(key):
        z = 0.96 * np.repeat(_bell(seed, key + "/tap", count // 4), 4) + 0.28 * z
    kind = _kind(key, shape)
    value = kind.mean + kind.spread(key, shape) * z
    return np.asarray(value + shift if shift else value, np.float32).reshape(shape)


def generate(
    shapes: Shapes, seed: int = 0, shift: Mapping[str, float] | None = None
) -> Iterator[tuple[str, FloatArray]]:
    """All parameters of a model, one after the other.

    Args:
        shapes: every key of its state dict with its shape.
        seed: another seed, another network.
        shift: numbers that are added to whole parameters.
    """
    for key, shape in shapes.items():
        yield key, values(key, tuple(shape), seed, (shift or {}).get(key, 0.0))


def fill(model: nn.Module, seed: int = 0, shift: Mapping[str, float] | None = None) -> None:
    """Load a model, of any size, with these weights."""
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    state: dict[str, Tensor] = {key: torch.from_numpy(value) for key, value in generate(shapes, seed, shift)}
    model.load_state_dict(state, strict=True)


def digest(shapes: Shapes, seed: int = 0) -> str:
    """SHA-256 over the sorted keys, each followed by its little-endian float32 bytes."""
    total = hashlib.sha256()
    for key, value in generate(dict(sorted(shapes.items())), seed):
        total.update(key.encode())
        total.update(value.astype("<f4").tobytes())
    return total.hexdigest()
