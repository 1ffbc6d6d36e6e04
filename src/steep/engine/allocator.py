"""glibc's allocator, set to keep the large buffers that training frees and takes again.

By default glibc gives every buffer above 128 KiB (growing to at most 32 MiB) back to the system
when it is freed, and the next step faults all of its pages in anew. Training frees and takes the
same sizes thousands of times a second, so the thresholds go up: the memory stays with the worker.
Numbers are in docs/engine.md. ``STEEP_MALLOC=0`` leaves the allocator as it is.
"""

from __future__ import annotations

import ctypes
import os
import sys

# malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_KEEP = (1 << 30, 32 << 20)
"""Bytes: 1 GiB, beyond any buffer of the models studied here, or what older glibc takes at most."""
_TOP_PAD = 64 << 20
"""Bytes that the heap grows by at a time."""


def keep_buffers() -> bool:
    """Raise the thresholds of this process. False where that is switched off or not glibc."""
    if os.environ.get("STEEP_MALLOC", "1") == "0" or not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    libc.mallopt(_M_TOP_PAD, _TOP_PAD)
    libc.mallopt(_M_TRIM_THRESHOLD, _KEEP[0])
    return any(libc.mallopt(_M_MMAP_THRESHOLD, value) == 1 for value in _KEEP)
