"""Memory and speed of tracking that goes on and on: resident memory must be flat, whatever the number of frames.

    python benchmarks/video_memory.py                          # 1, 4, 16 objects; 100 … 10,000 frames; a toy network
    python benchmarks/video_memory.py --model tiny --size 256  # a real network, random weights

Every run is a process of its own, so that one cannot hide in the memory of another. Frames are made on the fly.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

MARKS = (100, 200, 500, 1000, 2000, 5000, 10_000)


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


def model(name: str, size: int):
    """A network with random weights that is alive enough to track."""
    from dataclasses import replace

    from samphony.model.build import build_model
    from samphony.model.config import MODELS, HieraConfig, MemoryAttentionConfig, MemoryEncoderConfig, SAM2Config

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


def measure(name: str, size: int, objects: int, frames: int) -> list[dict[str, float]]:
    """Stream ``frames`` frames; resident memory and frames a second at each mark."""
    from samphony.predict.video import SAM2VideoPredictor

    torch.set_num_threads(2)
    stream = SAM2VideoPredictor(model(name, size)).stream()
    stream.step(frame(0))
    for obj_id in range(objects):
        stream.prompt(obj_id, points=[[10 + 6 * obj_id, 20]], labels=[1])
    rows, began, peak = [], time.perf_counter(), 0.0
    for t in range(1, frames + 1):
        stream.step(frame(t))
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
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        print(json.dumps(measure(args.model, args.size, args.one, args.frames)))
        return 0
    failed = False
    print(f"{args.model} at {args.size} px, streamed\nobjects  frames  resident MiB  frames/s")
    for objects in args.objects:
        command = [sys.executable, __file__, "--one", str(objects), "--frames", str(args.frames)]
        command += ["--model", args.model, "--size", str(args.size)]
        rows = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for row in rows:
            print(f"{objects:7d}  {row['frames']:6d}  {row['mib']:12.1f}  {row['fps']:8.1f}", flush=True)
        base = next((row["mib"] for row in rows if row["frames"] == 200), None)
        if base is not None:
            growth = rows[-1]["peak"] / base - 1
            failed |= growth > 0.05
            print(f"         peak after frame 200: {growth:+.1%} of its value there")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
