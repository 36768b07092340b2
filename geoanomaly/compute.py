"""The one place that decides how many threads and which device a process computes with."""

from __future__ import annotations

import ctypes
from contextlib import suppress

import torch
from threadpoolctl import threadpool_limits


def use_one_thread_each() -> None:
    """Let torch, OpenMP and BLAS work with one thread in each thread of ours.

    Tiles already run side by side, as many as the budget allows. Training too is
    faster so: its matrices are small, and threads that spin at barriers cost more
    than they bring on a machine that does anything else.
    """
    torch.set_num_threads(1)
    threadpool_limits(1)


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
