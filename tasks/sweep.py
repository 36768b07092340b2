"""The sweep: ring again for jobs that the broker or a worker lost, and clear their scratch."""

from __future__ import annotations

import logging
import math
import os
import threading

from geoanomaly.errors import GeoanomalyError
from geoanomaly.intake import workrooms
from geoanomaly.jobs import JobStore
from geoanomaly.settings import Settings
from tasks import leftovers
from tasks.queue import ring, waiting

log = logging.getLogger(__name__)


class Sweeper:
    """A thread of the worker's parent process. Any number of workers may have one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        # The parent forks its pool again when a child dies. A fork in the middle of a sweep
        # would copy locked mutexes of SQLite and the broker client into the child for ever.
        os.register_at_fork(
            before=self._lock.acquire,
            after_in_parent=self._lock.release,
            after_in_child=self._lock.release,
        )

    def start(self) -> None:
        threading.Thread(target=self._loop, name="sweep", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _loop(self) -> None:
        store: JobStore | None = None
        for folder in (self._settings.scenes_dir, self._settings.taken_dir):
            workrooms.clear(folder)
        while True:
            try:
                with self._lock:
                    store = store or JobStore(self._settings.database)
                    sweep(store, self._settings)
            except GeoanomalyError as error:
                log.warning("Sweep: %s", error)
            except Exception:
                log.exception("Sweep failed; it is tried again")
            if self._stopped.wait(self._settings.sweep_seconds):
                return


def sweep(store: JobStore, settings: Settings) -> None:
    lost = store.sweep(_undelivered_after(settings), settings.lease_seconds)
    # Before the next attempt at a job begins: it finds the place as if there had been no other.
    try:
        leftovers.clear(store, settings)
    except OSError:
        log.exception("What dead workers left could not be removed; it is tried again")
    for job_id in lost:
        log.info("Ringing again for job %s", job_id)
        ring(job_id, settings)


def _undelivered_after(settings: Settings) -> float:
    """Rings that lie in the queue are not lost, their workers are busy; only when none is there
    can a job that still waits have lost its own. Hence repeated rings never pile up."""
    return 2 * settings.sweep_seconds if waiting(settings) == 0 else math.inf
