"""One ring answered: lease the job, run the pipeline, record how it ended."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from geoanomaly.errors import GeoanomalyError, JobCancelledError, LeaseLostError, ServiceError
from geoanomaly.jobs import JobStore, Lease
from geoanomaly.settings import Settings
from geoanomaly.types import Job, JobSpec, Progress, Report, RunResult
from tasks.heartbeat import Heartbeat
from tasks.queue import ring

# A report costs a write to the disk of the database.
REPORT_SECONDS = 0.2

log = logging.getLogger(__name__)

Ending = Callable[[Lease], None]


class Pipeline(Protocol):
    """`geoanomaly.pipeline.run`, or what a test puts in its place."""

    def __call__(
        self, spec: JobSpec, *, out: Path, scratch: Path, settings: Settings, report: Report
    ) -> RunResult: ...


@dataclass(frozen=True)
class Runner:
    """What a worker process needs to run jobs.

    load: imports the pipeline, at the first job; stopping: set when the worker shuts down.
    """

    store: JobStore
    settings: Settings
    load: Callable[[], Pipeline]
    stopping: threading.Event

    def run(self, job_id: str) -> None:
        """Do nothing when the job is not to be had: it is done, cancelled or somebody else's."""
        settings = self.settings
        owner = f"{socket.gethostname()}:{os.getpid()}"
        lease = self.store.claim(job_id, owner, settings.lease_seconds, settings.max_attempts)
        if lease is None:
            log.info("Job %s is not to be had: done, cancelled, or another worker's.", job_id)
            return
        ending = self._work(lease, self.store.get(job_id))
        insist(lambda: ending(lease), settings.lease_seconds)
        self._clear(lease)

    def _work(self, lease: Lease, job: Job) -> Ending:
        seconds = self.settings.lease_seconds
        with Heartbeat(self.store, lease, seconds, self.stopping, self._abandon) as heartbeat:
            try:
                return self._attempt(lease, job, heartbeat)
            except BaseException:
                # The process is being ended (SystemExit, KeyboardInterrupt): no fault of the job.
                self._give_back(lease)
                raise

    def _attempt(self, lease: Lease, job: Job, heartbeat: Heartbeat) -> Ending:
        """Run the pipeline; the answer is how to record its end."""
        out = self.settings.jobs_dir / job.id
        try:
            result = self.load()(
                job.spec,
                out=out,
                scratch=self.settings.scratch_dir / job.id,
                settings=self.settings.of_tenant(job.tenant),
                report=reporter(self.store, lease, heartbeat),
            )
        except LeaseLostError as error:
            log.warning("Job %s left alone: %s", job.id, error)
            return _nothing
        except JobCancelledError:
            return self.store.cancelled if heartbeat.cancelled.is_set() else self._give_back
        except GeoanomalyError as error:
            return self._failure(str(error))
        except Exception as error:
            log.exception("Job %s failed unexpectedly", job.id)
            return self._failure(f"{type(error).__name__}: {error}")
        size = sum((out / name).stat().st_size for name in result.outputs if (out / name).exists())
        return lambda held: self.store.succeed(held, result.outputs, size)

    def _failure(self, reason: str) -> Ending:
        log.info("Job failed: %s", reason)
        return lambda held: self.store.fail(held, reason)

    def _give_back(self, lease: Lease) -> None:
        self.store.release(lease)
        ring(lease.job_id, self.settings)

    def _abandon(self, lease: Lease) -> None:
        """The job reached no checkpoint in time: give it back and go without it.

        Chunks and files appear whole or not at all, so that nothing half-written stays.
        """
        log.warning("Job %s is given back between checkpoints.", lease.job_id)
        try:
            self._give_back(lease)
        finally:
            os._exit(1)

    def _clear(self, lease: Lease) -> None:
        """Unfinished work is of use only while the job may go on."""
        if self.store.get(lease.job_id).status.final:
            shutil.rmtree(self.settings.scratch_dir / lease.job_id, ignore_errors=True)


def reporter(store: JobStore, lease: Lease, heartbeat: Heartbeat) -> Report:
    """A checkpoint on every call; a record now and then, and at each new stage."""
    last = Progress("", 0.0)
    due = 0.0

    def report(progress: Progress) -> None:
        nonlocal last, due
        heartbeat.check()
        if progress.stage == last.stage and time.monotonic() < due:
            return
        last, due = progress, time.monotonic() + REPORT_SECONDS
        try:
            if store.report(lease, progress):
                heartbeat.cancelled.set()
        except ServiceError as error:
            log.warning("Job %s: progress not recorded: %s", lease.job_id, error)
        heartbeat.check()

    return report


def insist(record: Callable[[], None], seconds: float) -> None:
    """Record an end although the database is away for a moment: hours of work hang on it."""
    give_up = time.monotonic() + seconds
    while True:
        try:
            return record()
        except LeaseLostError as error:
            # Whoever has the lease now records the end.
            return log.warning("%s", error)
        except ServiceError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.5)


def _nothing(_: Lease) -> None:
    """The lease is another worker's: nothing may be recorded."""
