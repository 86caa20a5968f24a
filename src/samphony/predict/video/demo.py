"""The video half of ``samphony demo``: an object tracked through the sample clip."""

from __future__ import annotations

import os
from pathlib import Path

from samphony.assets import SAMPLE_VIDEO, SAMPLE_VIDEO_BACKGROUND, SAMPLE_VIDEO_BOX, SAMPLE_VIDEO_CORRECTIONS
from samphony.media.photo import save_photo
from samphony.media.video import open_video
from samphony.media.video_overlay import contact_sheet
from samphony.predict.video.track_file import Progress, VideoPrompt, named_predictor, track_to_folder


def demo_video(
    out_dir: str | os.PathLike[str], model: str = "nano", *, progress: Progress | None = None
) -> tuple[Path, Path]:
    """Track the rabbit of the sample clip from a box on its first frame, and clicks that leave out stones and shadow.

    Returns:
        the overlay film and a contact sheet of six of its frames; masks and JSON lie beside them.
    """
    out = Path(out_dir)
    prompts = [
        VideoPrompt(0, 1, points=((*SAMPLE_VIDEO_BACKGROUND, 0),), box=SAMPLE_VIDEO_BOX),
        *(VideoPrompt(frame_idx, 1, points=clicks) for frame_idx, clicks in SAMPLE_VIDEO_CORRECTIONS),
    ]
    tracked = track_to_folder(named_predictor(model), SAMPLE_VIDEO, prompts, out, progress=progress)
    assert tracked.overlay_path is not None
    film = open_video(tracked.overlay_path)
    places = [round(i * (len(film) - 1) / 5) for i in range(6)]
    sheet = save_photo(out / "contact-sheet.png", contact_sheet([film.read(t) for t in places]))
    film.close()
    return tracked.overlay_path, sheet
