"""Freed memory is kept on glibc, and the environment has the last word."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys

import pytest

from samphony.predict import heap

needs_glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33 or later"
)


def run(script: str) -> str:
    """What a script prints in a process whose environment chooses nothing."""
    env = {name: value for name, value in os.environ.items() if name not in heap._CHOSEN_BY_USER}
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=env).stdout


FAULTS = """
import resource
import torch
from samphony.predict.build import build_sam2
build_sam2("nano", device="cpu")
faults = []
for _ in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(6 << 20) for _ in range(4)]
    del tensors
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(faults[-1])
"""


@needs_glibc
def test_pages_are_not_mapped_again() -> None:
    assert int(run(FAULTS)) < 2000  # about 24,000 pages otherwise


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_the_environment_decides(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert not heap.keep_freed_memory.__wrapped__()


HOLES = """
import resource
from pathlib import Path
import torch
from samphony.predict.heap import Holes, keep_freed_memory

def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() >> 20

assert keep_freed_memory()
holes = Holes()
assert not holes.hand_back()
large, small = [], []
for _ in range(80):
    large.append(torch.ones(2 << 20))
    small.append(torch.ones(1 << 18))  # lies between, so that what is freed around it is no end of the heap
used = resident_mib()
assert not any([holes.hand_back() for _ in range(16)])  # all of it is used
large.clear()
kept = resident_mib()
done = [holes.hand_back() for _ in range(17)]
print(used, kept, resident_mib(), sum(done))
"""


@needs_glibc
def test_holes_between_small_things_are_handed_back_once() -> None:
    used, kept, left, times = map(int, run(HOLES).split())
    assert kept > used - 100  # 640 MiB are free, and kept
    assert left < used - 500
    assert times == 1


def test_a_process_that_keeps_nothing_has_nothing_to_hand_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "keep_freed_memory", lambda: False)
    assert not heap.Holes().hand_back()
