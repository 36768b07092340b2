"""`python -m tasks.worker`: a Celery worker that runs jobs, one at a time by default."""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from celery import signals

from geoanomaly import lifeline
from geoanomaly.budget import set_limits
from geoanomaly.jobs import JobStore
from geoanomaly.logs import configure
from geoanomaly.settings import Settings
from tasks import broker
from tasks.app import create_app
from tasks.heartbeat import GRACE_SECONDS
from tasks.queue import QUEUE
from tasks.run import Pipeline, Runner
from tasks.sweep import Sweeper


def project_pipeline() -> Pipeline:
    """Imported in the process that runs the job: torch must not be loaded before the fork."""
    from geoanomaly.intake.taken import taking_in
    from geoanomaly.pipeline import run

    return taking_in(run)


class Worker:
    """The state of one worker: its parent process and, after the fork, each child of it."""

    def __init__(self, settings: Settings, load: Callable[[], Pipeline]) -> None:
        self._settings, self._load = settings, load
        self._stopping = threading.Event()
        self._sweeper = Sweeper(settings)
        self._parent = os.getpid()
        # Only the parent keeps the writing end: when it closes, by a shutdown or by the
        # parent's death, every child reads the end of the pipe.
        self._reader, self._writer = os.pipe()

    def run(self, job_id: str) -> None:
        self._runner.run(job_id)

    @cached_property
    def _runner(self) -> Runner:
        store = JobStore(self._settings.database)
        return Runner(store, self._settings, self._load, self._stopping)

    def connect(self) -> None:
        """Hear of the life of the Celery worker. Its signals hold their receivers weakly."""
        # Who hears this configures logging; else Celery would do it in its own way.
        signals.setup_logging.connect(self._log)
        signals.worker_ready.connect(self._ready)
        signals.worker_process_init.connect(self._forked)
        signals.worker_shutting_down.connect(self._shutting_down)

    def _log(self, **_: Any) -> None:
        configure(self._settings)

    def _ready(self, **_: Any) -> None:
        self._sweeper.start()

    def _forked(self, **_: Any) -> None:
        if os.getpid() == self._parent:
            return  # The solo pool sends the signal too, without a fork.
        os.close(self._writer)
        lifeline.watch(self._reader, self._orphaned)

    def _shutting_down(self, **_: Any) -> None:
        """A warm shutdown waits for running jobs, so they are told to stop at a checkpoint."""
        self._sweeper.stop()
        if not self._stopping.is_set():  # A second signal comes here too.
            self._stopping.set()
            os.close(self._writer)

    def _orphaned(self) -> None:
        self._stopping.set()
        # A child of a dead parent would wait for work for ever.
        time.sleep(2 * GRACE_SECONDS)
        os._exit(0)


def main(
    argv: Sequence[str] | None = None, load: Callable[[], Pipeline] = project_pipeline
) -> None:
    options = _options(argv)
    settings = _share_threads(Settings(), options.concurrency)
    configure(settings)
    if settings.broker_url is None:
        broker.wait_until_ready(settings)
    worker = Worker(settings, load)
    worker.connect()
    create_app(settings, worker.run).worker_main(_celery_arguments(options))


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tasks.worker", description=__doc__)
    parser.add_argument("--concurrency", type=int, default=1, help="jobs at a time (default 1)")
    parser.add_argument(
        "--pool",
        choices=("prefork", "solo"),
        default="prefork",
        help="solo runs the job in the worker itself: for a GPU, which cannot be used after a fork",
    )
    return parser.parse_args(argv)


def _share_threads(settings: Settings, concurrency: int) -> Settings:
    """Divide the one thread budget among jobs at a time, before any library reads it."""
    shared = settings.model_copy(update={"threads": max(1, settings.threads // concurrency)})
    set_limits(shared)
    return shared


def _celery_arguments(options: argparse.Namespace) -> list[str]:
    return [
        "worker",
        "--loglevel=INFO",
        f"--queues={QUEUE}",
        f"--pool={options.pool}",
        f"--concurrency={options.concurrency}",
        # Unique also where two workers share a host.
        f"--hostname=geoanomaly-{os.getpid()}@%h",
        # They synchronise workers that hold state in memory; ours have it in the database.
        "--without-gossip",
        "--without-mingle",
    ]


if __name__ == "__main__":
    main()
