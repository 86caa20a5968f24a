"""Frames as the network takes them in videos: resized as bytes, which gives other numbers than the photo door does."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from samphony.media.video import Frame

_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)
_NORMALISED = ((np.arange(256) / 255.0).astype(np.float32)[:, None] - _MEAN) / _STD
"""(256, 3): the normalised value of every byte, in the official order of float64 and float32 operations."""


def model_input(frame: Frame, size: int) -> Tensor:
    """uint8 (H,W,3) RGB → normalised float32 (3,S,S). The aspect ratio is not kept; bicubic, antialiased, in bytes."""
    if frame.shape[:2] != (size, size):
        frame = np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC))
    out = np.empty((3, size, size), np.float32)
    for channel in range(3):
        np.take(_NORMALISED[:, channel], frame[..., channel], out=out[channel])
    return torch.from_numpy(out)
