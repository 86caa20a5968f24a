"""What the opt-in policies change: the nano on made clips with a hidden object, crossing twins, a passing look-alike.

    make bench-policies                      ten clips of each scene
    make bench-policies ARGS="--clips 3"

The object is the sample photo's cat, cut out by the nano itself; where it is, is known. J is the mean over the frames
behind the event (the object hidden, the twins met), of all clips; *better / worse* counts the clips in which a policy
is more than 0.01 away from the official one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

import samphony
from samphony.assets import SAMPLE_PHOTO, SAMPLE_POINT
from samphony.evaluate.metrics import jaccard
from samphony.predict.video.options import VideoOptions
from samphony.predict.video.policies import OFFICIAL, MemoryPolicy
from samphony.predict.video.policy_ideas import DistractorAware, MotionAware, ScoreGated

H, W, FRAMES = 240, 320, 40
POLICIES: dict[str, MemoryPolicy] = {
    "official": OFFICIAL,
    "score-gated": ScoreGated(),
    "motion-aware": MotionAware(),
    "distractor-aware": DistractorAware(),
}


@dataclass(frozen=True)
class Piece:
    """A cut-out: picture (h,w,3) and opacity (h,w) in 0…1."""

    image: np.ndarray
    alpha: np.ndarray


@dataclass(frozen=True)
class Clip:
    """Frames (T,H,W,3) uint8, where the object is (T,H,W), and the frames that are measured."""

    frames: np.ndarray
    truth: np.ndarray
    measured: range


def cat(height: int) -> Piece:
    """The cat of the sample photo, so many pixels high."""
    cut = Image.fromarray(samphony.segment(str(SAMPLE_PHOTO), points=[SAMPLE_POINT], model="nano").cutout())
    size = (round(height * cut.width / cut.height), height)
    pixels = np.asarray(cut.resize(size, Image.Resampling.LANCZOS), dtype=np.float32)
    return Piece(pixels[..., :3], pixels[..., 3] / 255)


def ground(rng: np.random.Generator) -> np.ndarray:
    """Smooth blobs of muted colours with a little grain: (H,W,3) float."""
    coarse = Image.fromarray(rng.integers(60, 180, (6, 8, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((W, H), Image.Resampling.BICUBIC), dtype=np.float32)
    return np.clip(smooth + rng.normal(0, 6, (H, W, 1)), 0, 255)


def lay(frame: np.ndarray, piece: Piece, x: float, y: float) -> np.ndarray:
    """Draw a piece centred at (x, y), in place; its opacity on the whole frame."""
    h, w = piece.alpha.shape
    left, top = round(x - w / 2), round(y - h / 2)
    alpha = np.zeros((H, W), np.float32)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + w, W), min(top + h, H)
    if x1 > x0 and y1 > y0:
        part = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        alpha[y0:y1, x0:x1] = piece.alpha[part]
        over = alpha[y0:y1, x0:x1, None]
        frame[y0:y1, x0:x1] = frame[y0:y1, x0:x1] * (1 - over) + piece.image[part] * over
    return alpha


def hidden(rng: np.random.Generator, piece: Piece) -> Clip:
    """The cat walks behind a wall, stays there for a dozen frames, and comes out on the other side."""
    back, wall = ground(rng), Piece(ground(rng)[:, :110] * 0.6, np.ones((H, 110), np.float32))
    frames, truths = [], []
    speed, y = 250 / (FRAMES - 12), rng.uniform(110, 140)
    for t in range(FRAMES):
        step = min(t, 14) + max(t - 26, 0)
        frame = back.copy()
        seen = lay(frame, piece, 35 + speed * step, y + 3 * np.sin(t / 2))
        seen = seen * (1 - lay(frame, wall, 35 + speed * 14, H / 2))
        frames.append(frame)
        truths.append(seen > 0.5)
    return _clip(frames, truths, range(30, FRAMES))


def twins(rng: np.random.Generator, piece: Piece) -> Clip:
    """Two cats walk towards each other; the other one passes in front."""
    return _pair(rng, piece, gap=rng.uniform(-12, 12), in_front=True)


def look_alike(rng: np.random.Generator, piece: Piece) -> Clip:
    """Another cat comes into the picture and walks past, a little higher or lower."""
    return _pair(rng, piece, gap=float(rng.choice((-1, 1)) * rng.uniform(45, 65)), in_front=False)


def _pair(rng: np.random.Generator, piece: Piece, gap: float, in_front: bool) -> Clip:
    back = ground(rng)
    other = Piece(piece.image[:, ::-1] * rng.uniform(0.9, 1.1), piece.alpha[:, ::-1])
    frames, truths = [], []
    for t in range(FRAMES):
        share = t / (FRAMES - 1)
        frame = back.copy()
        ours, theirs = (60 + 200 * share, 120.0), (380 - 440 * share, 120 + gap)
        if in_front:
            seen = lay(frame, piece, *ours)
            seen = seen * (1 - lay(frame, other, *theirs))
        else:
            lay(frame, other, *theirs)
            seen = lay(frame, piece, *ours)
        frames.append(frame)
        truths.append(seen > 0.5)
    return _clip(frames, truths, range(FRAMES * 2 // 3, FRAMES))


def _clip(frames: list[np.ndarray], truths: list[np.ndarray], measured: range) -> Clip:
    return Clip(np.clip(np.stack(frames), 0, 255).astype(np.uint8), np.stack(truths), measured)


SCENES: dict[str, Callable[[np.random.Generator, Piece], Clip]] = {
    "hidden": hidden,
    "twins that cross": twins,
    "look-alike passes": look_alike,
}


def score(predictor: samphony.SAM2VideoPredictor, clip: Clip) -> float:
    """Mean J over the measured frames; the first frame's mask is given."""
    state = predictor.init_state(clip.frames)
    predictor.add_new_mask(state, 0, 1, clip.truth[0])
    values = []
    for t, _, logits in predictor.propagate_in_video(state):
        if t in clip.measured:
            found = (logits[0, 0] > 0).cpu().numpy()
            values.append(jaccard(found, clip.truth[t]))
    return float(np.mean(values))


def main() -> None:
    """Track every clip under every policy and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=10, help="clips of each scene")
    options = parser.parse_args()
    console = Console()
    model = samphony.build_sam2("nano", device="cpu")
    predictors = {name: samphony.SAM2VideoPredictor(model, VideoOptions(), p) for name, p in POLICIES.items()}
    table = Table("scene", *POLICIES, title=f"J behind the event, mean of {options.clips} clips (better / worse)")
    for scene, make in SCENES.items():
        found: dict[str, list[float]] = {name: [] for name in POLICIES}
        for seed in track(range(options.clips), description=scene, console=console, transient=True):
            rng = np.random.default_rng(seed)
            clip = make(rng, cat(int(rng.integers(70, 100))))
            for name, predictor in predictors.items():
                found[name].append(score(predictor, clip))
        base = np.array(found["official"])
        cells = []
        for name, values in found.items():
            away = np.array(values) - base
            count = "" if name == "official" else f" ({(away > 0.01).sum()} / {(away < -0.01).sum()})"
            cells.append(f"{np.mean(values):.3f}{count}")
        table.add_row(scene, *cells)
    console.print(table)


if __name__ == "__main__":
    main()
