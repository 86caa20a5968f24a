"""Pictures of a tracked video: the overlay film and the contact sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from samphony.media.overlay import distinct_colours, draw_masks
from samphony.media.video import Frame, FrameSource
from samphony.media.video_tracks import TrackFolder
from samphony.media.video_write import VideoWriter


def overlay(frame: Frame, tracks: TrackFolder, frame_idx: int) -> Frame:
    """A frame with its masks drawn in; each label keeps its colour through the video."""
    masks = tracks.masks(frame_idx)
    if not masks:
        return frame
    colours = distinct_colours(max(m.label for m in masks))[[m.label - 1 for m in masks]]
    return draw_masks(frame, np.stack([m.mask for m in masks]), colours=colours)


def write_overlay(
    source: FrameSource, tracks: TrackFolder, path: Path, *, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Write the tracked frames with their masks as H.264, at the original's times and with its sound."""
    frames = tracks.frames
    start = source.time(frames[0])
    sound = Path(source.name)
    with VideoWriter(
        path,
        height=source.height,
        width=source.width,
        rate=source.rate,
        sound=sound if sound.is_file() else None,
        sound_start=start,
    ) as writer:
        for done, t in enumerate(frames, 1):
            writer.write(overlay(source.read(t), tracks, t), source.time(t) - start)
            if progress is not None:
                progress(done, len(frames))
    return path


def contact_sheet(pictures: Sequence[Frame], columns: int = 3, width: int = 320, gap: int = 4) -> Frame:
    """Pictures of equal size side by side, each scaled to ``width`` pixels, on white."""
    height = round(pictures[0].shape[0] * width / pictures[0].shape[1])
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), "white")
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        small = Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS)
        sheet.paste(small, (gap + column * (width + gap), gap + row * (height + gap)))
    return np.asarray(sheet)
