"""The frame loaders of ``sam2.utils.misc``, for packages that build inference states themselves.

Our video predictor does not need them: it decodes frames when they are asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from samphony.media.photo import load_photo
from samphony.media.video import open_video
from samphony.predict.transforms import IMAGE_MEAN, IMAGE_STD
from samphony.predict.video.preprocess import model_input

Path = str | os.PathLike[str]
Device = torch.device | str


class AsyncVideoFrameLoader:
    """The frames of picture files, normalised (3,S,S) each, read when they are first indexed and then kept.

    ``compute_device`` is where they are put, unless ``offload_video_to_cpu``.
    """

    def __init__(
        self,
        img_paths: Sequence[Path],
        image_size: int,
        offload_video_to_cpu: bool,
        img_mean: Tensor,
        img_std: Tensor,
        compute_device: Device,
    ) -> None:
        self.img_paths = img_paths
        self.image_size = image_size
        self.offload_video_to_cpu = offload_video_to_cpu
        self.img_mean, self.img_std = img_mean, img_std
        self.compute_device = compute_device
        self.images: list[Tensor | None] = [None] * len(img_paths)
        _, self.video_height, self.video_width = load_img_as_tensor(img_paths[0], image_size)

    def __getitem__(self, index: int) -> Tensor:
        known = self.images[index]
        if known is not None:
            return known
        picture, _, _ = load_img_as_tensor(self.img_paths[index], self.image_size)
        frame = ((picture - self.img_mean.cpu()) / self.img_std.cpu()).float()
        frame = frame if self.offload_video_to_cpu else frame.to(self.compute_device)
        self.images[index] = frame
        return frame

    def __iter__(self) -> Iterator[Tensor]:
        return (self[index] for index in range(len(self)))

    def __len__(self) -> int:
        return len(self.images)


def load_img_as_tensor(img_path: Path, image_size: int) -> tuple[Tensor, int, int]:
    """A picture file → (3,S,S) in 0…1, not normalised, and its height and width."""
    photo = load_photo(img_path)
    resized = Image.fromarray(photo).resize((image_size, image_size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(resized) / 255.0).permute(2, 0, 1), *photo.shape[:2]


def load_video_frames(
    video_path: Any,
    image_size: int,
    offload_video_to_cpu: bool,
    img_mean: Sequence[float] = IMAGE_MEAN,
    img_std: Sequence[float] = IMAGE_STD,
    async_loading_frames: bool = False,
    compute_device: Device | None = None,
) -> tuple[Tensor, int, int]:
    """All frames of a video as the network takes them, (T,3,S,S), and the video's height and width.

    Args:
        video_path: anything that our video predictor opens.
        offload_video_to_cpu: leave the frames in RAM instead of putting them on ``compute_device``, by default CUDA
            where there is one.
        async_loading_frames: accepted; all frames are read before this returns.
    """
    if tuple(img_mean) != IMAGE_MEAN or tuple(img_std) != IMAGE_STD:
        raise ValueError("load_video_frames: only the mean and deviation of the released models are supported")
    source = open_video(video_path)
    images = torch.stack([model_input(frame, image_size) for frame in source])
    if not offload_video_to_cpu:
        images = images.to(compute_device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return images, source.height, source.width
