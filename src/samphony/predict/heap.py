"""How much freed memory the C library keeps for the next tensor.

A frame's larger tensors come and go at every call. glibc hands freed memory back to the system beyond a threshold, and
the system maps every page of it anew when the next tensor asks: 18,400 pages and 3 % of the time of an encoded photo.
"""

from __future__ import annotations

import ctypes
import os
import platform
from functools import lru_cache

KEPT_BYTES = 256 << 20
"""Freed memory that the process may keep."""
_MAPPED_BYTES = 32 << 20
"""Tensors from this size on are mapped on their own, as glibc's own adapting threshold ends at."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_CHOSEN_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Raise glibc's threshold for this process, unless the environment chooses one; whether it was done.

    Other C libraries and systems are left as they are.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in _CHOSEN_BY_USER):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES) and mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))
