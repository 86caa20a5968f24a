"""What the conductor is given of the past: finished, ordered records. It never searches, counts frames or prunes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SpatialMemory:
    """One remembered frame: features (B,Cm,h,w), position (B or 1,Cm,h,w).

    ``t_pos`` is 0 for a conditioning frame, otherwise 1 … num_maskmem - 1; num_maskmem - 1 is the frame just before.
    """

    features: Tensor
    position: Tensor
    t_pos: int


@dataclass(frozen=True)
class PointerMemory:
    """An object pointer (B,C) and its signed distance in frames."""

    pointer: Tensor
    offset: float


@dataclass(frozen=True)
class Recall:
    """All that a frame is conditioned on, in order. Offsets of pointers are divided by ``max_offset``."""

    spatial: tuple[SpatialMemory, ...] = ()
    pointers: tuple[PointerMemory, ...] = ()
    max_offset: int = 1


@dataclass(frozen=True)
class MemoryTokens:
    """A recall laid out for memory attention: tokens (B,T,Cm), positions (1,T,Cm), how many are pointer tokens."""

    tokens: Tensor
    positions: Tensor
    num_pointer_tokens: int


def spatial_tokens(memory: SpatialMemory, temporal: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (B,hw,Cm) and positions (·,hw,Cm); ``temporal`` (1,1,Cm) is the code of the memory's age."""
    tokens = memory.features.flatten(2).transpose(1, 2)
    return tokens, memory.position.flatten(2).transpose(1, 2) + temporal


def pointer_tokens(pointers: Tensor, codes: Tensor, memory_dim: int) -> tuple[Tensor, Tensor]:
    """Cut pointers into memory-sized tokens.

    Args:
        pointers: (B,P,C). codes: (P,Cm), shared by the C/Cm tokens of a pointer.

    Returns:
        tokens (B,P·C/Cm,Cm), positions (1,P·C/Cm,Cm).
    """
    pieces = pointers.shape[-1] // memory_dim
    return pointers.unflatten(-1, (pieces, memory_dim)).flatten(1, 2), codes.repeat_interleave(pieces, dim=0)[None]


def concatenate(parts: list[tuple[Tensor, Tensor]], num_pointer_tokens: int) -> MemoryTokens:
    """Join parts of (tokens, positions) along the tokens."""
    dtype = parts[-1][1].dtype
    return MemoryTokens(
        torch.cat([tokens.to(dtype) for tokens, _ in parts], dim=1),
        torch.cat([positions[:1] for _, positions in parts], dim=1),  # a position is the same for every object
        num_pointer_tokens,
    )
