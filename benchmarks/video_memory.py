"""Memory and speed of tracking that goes on and on: resident memory must be flat, whatever the number of frames.

    python benchmarks/video_memory.py                          # 1, 4, 16 objects; 100 … 10,000 frames; a toy network
    python benchmarks/video_memory.py --model tiny --size 256  # a real network, random weights
    python benchmarks/video_memory.py --offline                # all answers within reach, spilled beyond 1 MiB
    python benchmarks/video_memory.py --film 60 --objects 3    # an hour of 1080p from a file, default options (an hour)

Every run is a process of its own, so that one cannot hide in the memory of another. Frames are made on the fly but for
the film: 1920 × 1080, H.264, at ``--rate`` frames a second.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

from samphony.media.video import FrameSource
from samphony.media.video_write import VideoWriter
from samphony.model.base import SAM2Base
from samphony.model.build import build_model
from samphony.model.config import MODELS, HieraConfig, MemoryAttentionConfig, MemoryEncoderConfig, SAM2Config
from samphony.predict.video import SAM2VideoPredictor

MARKS = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
FILM_LOOP = 300


def resident_mib() -> float:
    """Resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no VmRSS; this benchmark needs Linux")


def frame(t: int) -> np.ndarray:
    """A frame (96,128,3) with a square that moves."""
    picture = np.full((96, 128, 3), (40, 70, 50), np.uint8)
    x, y = 8 + t % 80, 8 + (t // 2) % 50
    picture[y : y + 24, x : x + 24] = (220, 160, 60)
    return picture


def model(name: str, size: int) -> SAM2Base:
    """A network with random weights."""
    if name != "toy":
        return build_model(replace(MODELS[name], image_size=size), seed=0).eval()
    trunk = HieraConfig(embed_dim=8, stages=(1, 1, 2, 1), global_att_blocks=(2,), window_spec=(8, 4, 4, 2),
                        window_pos_embed_bkg_spatial_size=(4, 4))  # fmt: skip
    config = SAM2Config(
        name="toy",
        image_size=size,
        hidden_dim=32,
        trunk=trunk,
        memory_encoder=MemoryEncoderConfig(out_dim=8),
        memory_attention=MemoryAttentionConfig(num_layers=2, dim_feedforward=64),
    )
    return build_model(config, seed=0).eval()


def live(predictor: SAM2VideoPredictor, objects: int, frames: int) -> Iterator[int]:
    """Stream frames one by one."""
    stream = predictor.stream()
    stream.step(frame(0))
    for obj_id in range(objects):
        stream.prompt(obj_id, points=[[10 + 6 * obj_id, 20]], labels=[1])
    for t in range(1, frames + 1):
        stream.step(frame(t))
        yield t


def offline(predictor: SAM2VideoPredictor, objects: int, frames: int) -> Iterator[int]:
    """Track through a video whose every answer stays within reach: most of it on disk."""
    predictor.ram_budget = 1024 * 1024
    yield from through(predictor, EndlessVideo(frames + 1), objects)


def film(predictor: SAM2VideoPredictor, objects: int, frames: int) -> Iterator[int]:
    """Track through a file with all options as they are."""
    with tempfile.TemporaryDirectory() as folder:
        yield from through(predictor, make_film(Path(folder) / "film.mp4", frames + 1), objects)


def through(predictor: SAM2VideoPredictor, video: FrameSource | Path, objects: int) -> Iterator[int]:
    """The official loop over a whole video."""
    state = predictor.init_state(video)
    for obj_id in range(objects):
        predictor.add_new_points_or_box(state, 0, obj_id, points=[[10 + 6 * obj_id, 20]], labels=[1])
    for t, _, _ in predictor.propagate_in_video(state):
        if t:
            yield t


def make_film(path: Path, frames: int) -> Path:
    """A film of ``frames`` frames: three hundred, encoded once, whose packets come again and again."""
    rate = 30  # nominal: nothing below depends on how fast it would be shown
    loop = path.with_name("loop.mp4")
    with VideoWriter(loop, height=1080, width=1920, rate=Fraction(rate)) as writer:
        for t in range(FILM_LOOP):
            writer.write(np.kron(frame(t)[:90, :120], np.ones((12, 16, 1), np.uint8)), t / rate)
    with av.open(str(loop)) as read, av.open(str(path), "w") as out:
        source = read.streams.video[0]
        stream = out.add_stream_from_template(source)
        assert source.time_base is not None
        length = round(FILM_LOOP / rate / source.time_base)
        for start in range(0, frames, FILM_LOOP):
            read.seek(0)
            for packet in list(read.demux(source)):
                if packet.dts is None or packet.pts is None:
                    continue
                packet.pts, packet.dts = (t + start // FILM_LOOP * length for t in (packet.pts, packet.dts))
                packet.stream = stream
                out.mux(packet)
    return path


class EndlessVideo(FrameSource):
    """Frames made when they are asked for."""

    name, height, width = "the endless video", 96, 128

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> np.ndarray:
        return frame(index)


def measure(args: argparse.Namespace) -> list[dict[str, float]]:
    """Track; resident memory and frames a second at each mark."""
    if args.threads:
        torch.set_num_threads(args.threads)
    frames = args.frames
    run = film if args.film else offline if args.offline else live
    rows, began, peak = [], time.perf_counter(), 0.0
    for t in run(SAM2VideoPredictor(model(args.model, args.size)), args.one, frames):
        if t % 50 == 0 and t >= 200:
            peak = max(peak, resident_mib())
        if t in MARKS or t == frames:
            rows.append({"frames": t, "mib": resident_mib(), "peak": peak, "fps": t / (time.perf_counter() - began)})
    return rows


def main() -> int:
    """Print a table; fail where memory grows by more than 5 % after frame 200."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--model", default="toy", help="toy, or a model of samphony")
    parser.add_argument("--size", type=int, default=64, help="input size of the network")
    parser.add_argument("--offline", action="store_true", help="keep every answer within reach, spilled to disk")
    parser.add_argument("--film", type=int, metavar="MINUTES", help="track through a film of 1080p of this length")
    parser.add_argument("--rate", type=int, default=30, help="frames a second of the film")
    parser.add_argument("--threads", type=int, default=0, help="of torch; its own choice by default")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.film:
        args.frames = args.film * 60 * args.rate - 1
    if args.one is not None:
        print(json.dumps(measure(args)))
        return 0
    failed = False
    way = f"a film of {args.film} minutes" if args.film else "offline, spilled" if args.offline else "streamed"
    print(f"{args.model} at {args.size} px, {way}")
    print("objects  frames  resident MiB  frames/s")
    for objects in args.objects:
        command = [sys.executable, __file__, "--one", str(objects), "--frames", str(args.frames)]
        command += ["--model", args.model, "--size", str(args.size), *(["--offline"] if args.offline else [])]
        command += ["--threads", str(args.threads)]
        command += ["--film", str(args.film)] if args.film else []
        rows = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for row in rows:
            print(f"{objects:7d}  {row['frames']:6d}  {row['mib']:12.1f}  {row['fps']:8.1f}", flush=True)
        base = next((row["mib"] for row in rows if row["frames"] == 200), None)
        if base is not None:
            growth = rows[-1]["peak"] / base - 1
            failed |= growth > 0.05 and not (args.offline or args.film)
            print(f"         peak after frame 200: {growth:+.1%} of its value there")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
