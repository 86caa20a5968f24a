"""Freed memory is kept on glibc, and the environment has the last word."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from samphony.predict import heap

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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator only")
def test_pages_are_not_mapped_again() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2000  # about 24,000 pages otherwise


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_the_environment_decides(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert not heap.keep_freed_memory.__wrapped__()


HOLES = """
from pathlib import Path
import torch
from samphony.predict.heap import Holes, keep_freed_memory

def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20

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


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="glibc 2.33 and later"
)
def test_holes_between_small_things_are_handed_back_once() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    used, kept, left, times = map(int, done.stdout.split())
    assert kept > used - 100  # 640 MiB are free, and kept
    assert left < used - 500
    assert times == 1


def test_a_process_that_keeps_nothing_has_nothing_to_hand_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "keep_freed_memory", lambda: False)
    assert not heap.Holes().hand_back()
