"""The official builders' table of released models, and their helpers for files."""

from __future__ import annotations

import os
from typing import Any

from torch import nn

from samphony.weights.load import load_weights
from samphony.weights.registry import WEIGHTS, canonical_name

HF_MODEL_ID_TO_FILENAMES: dict[str, tuple[str, str]] = {
    w.hub_repo: (f"configs/{w.official_name.split('_')[0]}/{w.official_name}.yaml", w.file) for w in WEIGHTS.values()
}
"""Repository on the hub → configuration and weights file."""


def hf_download(model_id: str) -> tuple[str, str]:
    """Configuration name and path of the weights, fetched once and cached."""
    from samphony.weights.download import find_weights

    config, _file = HF_MODEL_ID_TO_FILENAMES[WEIGHTS[canonical_name(model_id)].hub_repo]
    return config, str(find_weights(model_id))


def load_checkpoint(model: nn.Module, ckpt_path: str | os.PathLike[str] | None, **_: Any) -> None:
    """Load weights strictly; None leaves the model as it is."""
    if ckpt_path is not None:
        load_weights(model, ckpt_path)
