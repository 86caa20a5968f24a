"""Freed memory is kept on glibc, and the environment has the last word."""

from __future__ import annotations

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
