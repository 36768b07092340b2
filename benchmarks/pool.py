"""Jobs side by side in processes of one thread each, with the time left; Ctrl-C ends them all."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def work_off(
    jobs: Sequence[Job],
    work: Callable[[Job], Result],
    on_done: Callable[[Job, Result, str], None],
    *,
    processes: int,
) -> None:
    """Call `work` (picklable) on every job, and `on_done` here as each ends, with the time left.

    Whatever is raised here or there, KeyboardInterrupt included, ends the processes at once.
    """
    for name in _THREADS:
        os.environ[name] = "1"
    began = time.monotonic()
    context = multiprocessing.get_context("spawn")  # torch does not survive a fork
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_leave_ctrl_c)
    try:
        futures = {pool.submit(work, job): job for job in jobs}
        for count, future in enumerate(as_completed(futures), start=1):
            rest = (time.monotonic() - began) / count * (len(jobs) - count)
            on_done(futures[future], future.result(), span(rest))
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
            process.join()
        raise
    pool.shutdown()


def _leave_ctrl_c() -> None:
    """The terminal sends Ctrl-C to all; the first process decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
