"""The one budget of a process, for libraries that each would take all processors and much memory.

They read it once, at their first use, so it is set before: where a process begins. Torch is
told by `geoanomaly.compute`.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

from geoanomaly.settings import Settings

SHARING = 8
"""Threads to a heap. A heap of its own for each is made of pieces of 64 MiB, of which the large
arrays of a tile fill half; with too many in one they would wait for one another."""

_ARENA_MAX = -8  # of glibc's malloc.h


def set_limits(settings: Settings) -> None:
    """What the environment says already stays."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(settings.threads))
    # Tiles run side by side already; what GDAL does beside (compressing, warping) it does in them.
    os.environ.setdefault("GDAL_NUM_THREADS", "1")
    # Without a limit: a twentieth of the machine's memory, for blocks that are not read again.
    os.environ.setdefault("GDAL_CACHEMAX", str(settings.cache_mib))
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").mallopt(_ARENA_MAX, 1 + settings.threads // SHARING)
