"""The one place that decides how many threads and which device a process computes with."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from contextlib import suppress
from functools import cache

import torch
from threadpoolctl import threadpool_limits

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3

TURN = 0.0005
"""Seconds that a thread may keep the interpreter from another. A network's operations are short:
at Python's 5 ms, two threads take 3 % longer for their tiles."""

_this_thread = threading.local()


def use_one_thread_each() -> None:
    """Let torch, OpenMP and BLAS work with one thread in each thread of ours.

    Tiles already run side by side, as many as the budget allows. Training too is
    faster so: its matrices are small, and threads that spin at barriers cost more
    than they bring on a machine that does anything else.
    """
    if getattr(_this_thread, "limited", False):
        return
    torch.set_num_threads(1)
    threadpool_limits(1)  # looks through all libraries, which takes milliseconds
    _set_up_process()
    _this_thread.limited = True


@cache
def _set_up_process() -> None:
    sys.setswitchinterval(TURN)
    # What was imported stays. To look through it for garbage takes a fifth of a second each time.
    gc.freeze()
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Keep what one layer of a network has freed for the next one.

    By default it goes to the system and is asked for again, page by page: a tenth of a tile's
    time, and with what Dask sets for its workers more than the network itself takes. The heap
    of a thread is given back as soon as it is empty, unless it is as large as the padding.
    """
    with suppress(OSError, AttributeError):  # another C library
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(_TOP_PAD, 64 * 2**20)
        library.mallopt(_TRIM_THRESHOLD, 512 * 2**20)
        library.mallopt(_MMAP_THRESHOLD, 32 * 2**20)


def device() -> torch.device:
    """The GPU when there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def give_back_memory() -> None:
    """Return what a finished step has freed to the system: the allocator keeps it otherwise.

    Thousands of large arrays come and go in each thread; glibc holds on to their places, and
    the next step would add its own on top.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)
