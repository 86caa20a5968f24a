"""The shallow network whose parts were recorded, and what was put into them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tests.golden.weights import values

SIZE = 128
CELLS = SIZE // 16
CHANNELS, MEMORY_CHANNELS = 256, 64

Points = dict[str, Tensor]


def picture() -> Tensor:
    """A normalised picture (1,3,128,128): smooth random blobs."""
    coarse = torch.from_numpy(values("picture", (1, 3, 16, 16)) * 10)
    return torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear", align_corners=False)


def fake_memory(frame: int) -> tuple[Tensor, Tensor]:
    """Memory features (1,64,8,8) and an object pointer (1,256) of a frame that never was."""
    features = values(f"memory of frame {frame}", (1, MEMORY_CHANNELS, CELLS, CELLS)) * 8
    return torch.from_numpy(features), torch.from_numpy(values(f"pointer of frame {frame}", (1, CHANNELS)))


def thinned(array: Any) -> Any:
    """Every fourth of many channels, every second pixel of large maps, of a tensor or an array."""
    if array.ndim != 4:
        return array
    return array[:, :: 4 if array.shape[1] >= 16 else 1, :: _step(array.shape[2]), :: _step(array.shape[3])]


def _step(side: int) -> int:
    return 2 if side >= 32 else 1


def _points(coords: list[list[list[float]]], labels: list[list[int]]) -> Points:
    return {"point_coords": torch.tensor(coords), "point_labels": torch.tensor(labels, dtype=torch.int32)}


def _ellipse() -> Tensor:
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    return (((x - 50) ** 2 / 30**2 + (y - 70) ** 2 / 22**2) <= 1).float()[None, None]


_PRIOR = torch.from_numpy(values("prior logits", (1, 1, 4 * CELLS, 4 * CELLS)) * 4)

# name -> points, earlier logits, three masks
POINTS: dict[str, tuple[Points | None, Tensor | None, bool]] = {
    "click": (_points([[[40.0, 60.0]]], [[1]]), None, True),
    "two": (_points([[[40.0, 60.0], [90.0, 20.0]], [[10.5, 99.0], [64.0, 64.0]]], [[1, 0], [1, 1]]), None, False),
    "box": (_points([[[20.0, 30.0], [100.0, 110.0], [50.0, 60.0]]], [[2, 3, 1]]), None, False),
    "nothing": (None, None, False),
    "refined": (_points([[[40.0, 60.0], [70.0, 80.0]]], [[1, 0]]), _PRIOR, False),
}
ELLIPSES = {"mask": _ellipse(), "empty": torch.zeros(1, 1, SIZE, SIZE)}


def config(version: str) -> Any:
    """Our configuration (``SAM2Config``) of the network; imported late, since the recorder does without samphony."""
    from samphony.model.config import MODELS, HieraConfig, MemoryAttentionConfig

    base = MODELS["tiny" if version == "2.1" else "2.0-tiny"]
    return replace(
        base,
        name=f"golden-{version}",
        image_size=SIZE,
        trunk=HieraConfig(embed_dim=16, stages=(1, 2, 2, 1), global_att_blocks=(4,)),
        memory_attention=MemoryAttentionConfig(num_layers=2, dim_feedforward=128),
        mask_decoder=replace(base.mask_decoder, dynamic_multimask_via_stability=True),
        binarize_mask_from_pts_for_mem_enc=True,
    )
