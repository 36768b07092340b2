"""One ring answered: lease the job, run the pipeline, record how it ended."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from geoanomaly import unfinished
from geoanomaly.errors import (
    GeoanomalyError,
    JobCancelledError,
    LeaseLostError,
    SandboxError,
    ServiceError,
)
from geoanomaly.jobs import JobStore, Lease
from geoanomaly.logs import about_job
from geoanomaly.settings import Settings
from geoanomaly.types import Job, JobSpec, Progress, Report, RunResult
from tasks import leftovers
from tasks.failures import explained, is_full
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
        with about_job(job_id):
            self._run(job_id)

    def _run(self, job_id: str) -> None:
        settings = self.settings
        owner = f"{socket.gethostname()}:{os.getpid()}"
        lease = self.store.claim(job_id, owner, settings.lease_seconds, settings.max_attempts)
        if lease is None:
            log.info("Job %s is not to be had: done, cancelled, or another worker's.", job_id)
            return
        job = self.store.get(job_id)
        own = settings.of_tenant(job.tenant)
        ending = self._work(lease, job, own)
        insist(lambda: ending(lease), settings.lease_seconds)
        leftovers.clear_own(own, lease)
        try:
            leftovers.clear_ended(self.store, settings, job_id)
        except OSError as error:
            log.warning("Job %s: its unfinished work is left to the sweep: %s", job_id, error)

    def _work(self, lease: Lease, job: Job, settings: Settings) -> Ending:
        seconds = settings.lease_seconds
        with Heartbeat(self.store, lease, seconds, self.stopping, self._abandon) as heartbeat:
            try:
                return self._attempt(lease, job, settings, heartbeat)
            except BaseException:
                # The process is being ended (SystemExit, KeyboardInterrupt): no fault of the job.
                self._give_back(lease)
                raise

    def _attempt(self, lease: Lease, job: Job, settings: Settings, heartbeat: Heartbeat) -> Ending:
        """Run the pipeline; the answer is how to record its end."""
        try:
            out = leftovers.prepare(settings, lease)
            result = self.load()(
                job.spec,
                out=out,
                scratch=settings.scratch_dir / job.id,
                settings=settings,
                report=reporter(self.store, lease, heartbeat),
            )
            size = sum(file.stat().st_size for file in out.iterdir())
        except LeaseLostError as error:
            log.warning("Job %s left alone: %s", job.id, error)
            return _nothing
        except JobCancelledError:
            return self.store.cancelled if heartbeat.cancelled.is_set() else self._give_back
        except GeoanomalyError as error:
            return self._failure(job, error)
        except Exception as error:
            log.exception("Job %s failed unexpectedly", job.id)
            return self._failure(job, error)
        return self._success(job, result, size, settings)

    def _success(self, job: Job, result: RunResult, size: int, settings: Settings) -> Ending:
        def succeed(lease: Lease) -> None:
            publish = partial(leftovers.publish, settings, lease, job.spec)
            try:
                self.store.succeed(lease, result.outputs, size, publish)
            except OSError as error:
                log.exception("Job %s: its files could not be published", job.id)
                self._failure(job, error)(lease)

        return succeed

    def _failure(self, job: Job, error: Exception) -> Ending:
        settings = self.settings
        reason = explained(error, settings.data_dir)
        log.info("Job failed: %s", reason)

        def fail(lease: Lease) -> None:
            # First of all, because on a full disk not even the reason could be written.
            leftovers.clear_own(settings, lease)
            if isinstance(error, SandboxError):
                self.store.count("sandbox_refusals", error.reason)
            if is_full(error, settings.data_dir) and self.store.holds(job.id, lease.fence):
                unfinished.make_room(settings.scratch_dir / job.id)
            self.store.fail(lease, reason)

        return fail

    def _give_back(self, lease: Lease) -> None:
        self.store.release(lease)
        ring(lease.job_id, self.settings)

    def _abandon(self, lease: Lease) -> None:
        """The job reached no checkpoint in time: give it back, or dismiss it, and go without it.

        Chunks and files appear whole or not at all, so that nothing half-written stays.
        """
        log.warning("Job %s is left between checkpoints.", lease.job_id)
        try:
            self._give_back(lease)
        finally:
            os._exit(1)


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
