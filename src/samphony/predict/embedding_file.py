"""Image embeddings on disk (safetensors): encode a photo once, click on it for ever."""

from __future__ import annotations

import json
import os

import torch
from torch import Tensor

from samphony.errors import CheckpointError
from samphony.model.config import SAM2Config
from samphony.weights.tensors import load_tensors, save_tensors

FORMAT = "samphony.image_embedding.1"

Loaded = tuple[Tensor, list[Tensor], list[tuple[int, int]]]


def save_embedding(
    path: str | os.PathLike[str],
    embedding: Tensor,
    high_res: list[Tensor],
    sizes: list[tuple[int, int]],
    config: SAM2Config,
) -> None:
    """Write embedding (B,C,h,w), finer levels and the photos' sizes (H,W)."""
    tensors = {"image_embed": embedding, **{f"high_res_feats.{i}": level for i, level in enumerate(high_res)}}
    save_tensors(path, tensors, {"format": FORMAT, "model": config.name, "sizes": json.dumps(sizes)})


def load_embedding(path: str | os.PathLike[str], config: SAM2Config, device: torch.device) -> Loaded:
    """Read what ``save_embedding`` wrote, for the same model.

    Raises:
        CheckpointError: the file is missing, damaged, no embedding, or of another model.
    """
    tensors, metadata = load_tensors(path)
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not an image embedding; save one with save_image_embedding")
    if metadata.get("model") != config.name:
        raise CheckpointError(f"{path}: made by model {metadata.get('model')!r}, but this model is {config.name!r}")
    embedding = tensors.pop("image_embed").to(device)
    expected = (config.hidden_dim, config.embedding_size, config.embedding_size)
    if tuple(embedding.shape[1:]) != expected:
        raise CheckpointError(f"{path}: embedding of shape {tuple(embedding.shape)}, this model makes {expected}")
    high_res = [tensors[f"high_res_feats.{i}"].to(device) for i in range(len(tensors))]
    return embedding, high_res, [(h, w) for h, w in json.loads(metadata["sizes"])]
