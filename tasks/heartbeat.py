"""A thread that keeps a lease while a job runs, and hears what the job should know."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from geoanomaly.errors import JobCancelledError, LeaseLostError, ServiceError
from geoanomaly.jobs import JobStore, Lease
from geoanomaly.logs import about_job

# A few chances within one lease, and never so far apart that a cancel goes unheard.
BEATS_PER_LEASE = 3
LONGEST_BEAT_SECONDS = 1.0
# A job that reaches no checkpoint for so long after it was asked to stop is left where it is.
GRACE_SECONDS = 3.0

log = logging.getLogger(__name__)


class Heartbeat:
    """Renews `lease` every beat until the `with` block ends.

    stopping: set when this worker shuts down; abandon: called, from the thread, when the
    job has not reached a checkpoint GRACE_SECONDS after that, or after it was cancelled.
    """

    def __init__(
        self,
        store: JobStore,
        lease: Lease,
        seconds: float,
        stopping: threading.Event,
        abandon: Callable[[Lease], None],
    ) -> None:
        self._store, self._lease, self._seconds = store, lease, seconds
        self._stopping, self._abandon = stopping, abandon
        self._done = threading.Event()
        self._lost = threading.Event()
        self.cancelled = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def check(self) -> None:
        """A checkpoint of the job: raise if it should not go on."""
        if self._lost.is_set():
            raise LeaseLostError(f"Another worker has job {self._lease.job_id} now.")
        if self.cancelled.is_set():
            raise JobCancelledError("The job was cancelled.")
        if self._stopping.is_set():
            raise JobCancelledError("The worker is shutting down.")

    def _beat(self) -> None:
        with about_job(self._lease.job_id):
            self._renew_until_done()

    def _renew_until_done(self) -> None:
        pause = min(self._seconds / BEATS_PER_LEASE, LONGEST_BEAT_SECONDS)
        leave_at: float | None = None
        while not self._done.wait(pause) and not self._lost.is_set():
            self._renew()
            if self._stopping.is_set() or self.cancelled.is_set():
                leave_at = leave_at or time.monotonic() + GRACE_SECONDS
                if time.monotonic() >= leave_at:
                    self._abandon(self._lease)

    def _renew(self) -> None:
        try:
            if self._store.renew(self._lease, self._seconds):
                self.cancelled.set()
        except LeaseLostError as error:
            log.warning("%s", error)
            self._lost.set()
        except ServiceError as error:
            # The job goes on: when the database is back and nobody took the lease, it is ours.
            log.warning("Job %s: lease not renewed: %s", self._lease.job_id, error)
