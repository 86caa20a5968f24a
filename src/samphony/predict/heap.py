"""How much freed memory the C library keeps for the next tensor.

A frame's larger tensors come and go at every call. glibc hands freed memory back to the system beyond a threshold, and
the system maps every page of it anew when the next tensor asks: 18,400 pages and 3 % of the time of an encoded photo.

What is kept has holes. A tensor's place is cut from the heap a little larger than the tensor, small things settle in
what is cut off, and the next tensor of that size no longer fits: a script that gathers small results picture by
picture grows by 8 MB each with glibc as it is, 13 MB with more kept. So holes are handed back from time to time.
"""

from __future__ import annotations

import ctypes
import math
import os
import platform
from functools import lru_cache
from itertools import count
from pathlib import Path

KEPT_BYTES = 256 << 20
"""Freed memory that the process may keep."""
_MAPPED_BYTES = 32 << 20
"""Tensors from this size on are mapped on their own, as glibc's own adapting threshold ends at."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_CHOSEN_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
_STATM = Path("/proc/self/statm")
_LOOK_EVERY = 8
"""Calls between two looks, which take half a millisecond."""


class _Mallinfo2(ctypes.Structure):
    """``struct mallinfo2`` of malloc.h (glibc 2.33 and later)."""

    _names = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    _fields_ = [(name, ctypes.c_size_t) for name in _names]


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Raise glibc's threshold for this process, unless the environment chooses one; whether it was done.

    Other C libraries, glibc before 2.33 and other systems are left as they are.
    """
    if platform.libc_ver()[0] != "glibc" or not _STATM.exists() or any(name in os.environ for name in _CHOSEN_BY_USER):
        return False
    try:
        libc = _libc()
        mallopt = libc.mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES) and mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = _Mallinfo2
    return libc


class Holes:
    """Watches the resident memory that nothing uses, for a process that keeps freed memory."""

    def __init__(self) -> None:
        self._calls = count()
        self._least: float = math.inf  # unused resident memory: libraries, and what is free but in no page of its own

    def hand_back(self) -> bool:
        """Hand holes back when they have grown by ``KEPT_BYTES``; whether it was done. Doors call it once a picture.

        The places stay free for what fits, but the system has their memory.
        """
        if next(self._calls) % _LOOK_EVERY or not keep_freed_memory():
            return False
        unused = _unused_bytes()
        self._least = min(self._least, unused)
        if unused <= self._least + KEPT_BYTES:
            return False
        _libc().malloc_trim(0)
        self._least = _unused_bytes()
        return True


def _unused_bytes() -> int:
    """Resident bytes of this process that the C library has not given to anyone."""
    resident, shared = map(int, _STATM.read_text().split()[1:3])
    info = _libc().mallinfo2()
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE") - int(info.uordblks) - int(info.hblkhd)


holes = Holes()
"""Those of this process."""
