"""Where a job's files are before they are published, and what goes when it has ended.

A folder in scratch, made before anything else is, marks a job of which something may be
left: whoever finds it beside a job that has ended removes all the rest, and it last.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from geoanomaly import unfinished
from geoanomaly.errors import UnknownJobError
from geoanomaly.jobs import JobStore, Lease
from geoanomaly.publication import WRITING, Attempt, attempts, discard
from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec, JobStatus, Process


def result(settings: Settings, lease: Lease) -> Attempt:
    """The job's folder of published files, as this lease makes it."""
    return Attempt(settings.jobs_dir, lease.job_id, _token(lease))


def model(settings: Settings, lease: Lease, name: str) -> Attempt:
    return Attempt(settings.models_dir, name, _token(lease))


def prepare(settings: Settings, lease: Lease) -> Path:
    """Make the folders, the mark first; the answer is where to write."""
    (settings.scratch_dir / lease.job_id).mkdir(parents=True, exist_ok=True)
    written = result(settings, lease).written
    written.mkdir(parents=True)
    return written


def publish(settings: Settings, lease: Lease, spec: JobSpec) -> None:
    """Give the files of an attempt their names: those of the job, and the model that it trained."""
    files = result(settings, lease)
    if spec.process is Process.TRAIN_MODEL and spec.name is not None:
        trained = model(settings, lease, spec.name)
        if files.written.exists():
            shutil.copytree(files.written, trained.written, dirs_exist_ok=True)
            trained.publish()
    files.publish()


def clear_own(settings: Settings, lease: Lease) -> None:
    """What an attempt wrote and did not publish, published by then or not."""
    for root in (settings.jobs_dir, settings.models_dir):
        discard(root / WRITING / _token(lease))


def clear(store: JobStore, settings: Settings) -> None:
    """Remove what workers left that were killed, or that lost their lease. Living ones keep theirs.

    A worker without a lease that still writes there fails with a missing folder, and no
    harm is done.
    """
    own = (settings.jobs_dir, settings.models_dir)
    for root in (*own, *settings.data_dir.glob("tenants/*/models")):
        for place in attempts(root):
            if not _living(store, place.name):
                discard(place)
    if settings.scratch_dir.is_dir():
        for folder in settings.scratch_dir.iterdir():
            clear_ended(store, settings, folder.name)


def clear_ended(store: JobStore, settings: Settings, job_id: str) -> None:
    """Unfinished work is of use only while the job may go on.

    `OSError` when an object store keeps it: the mark stays for the next time.
    """
    try:
        status = store.get(job_id).status
    except UnknownJobError:
        return
    if not status.final:
        return
    if status is not JobStatus.SUCCESSFUL:
        # Its worker was killed after the rename and before the row said so.
        shutil.rmtree(settings.jobs_dir / job_id, ignore_errors=True)
    unfinished.clear(settings.scratch_dir / job_id, settings)


def _token(lease: Lease) -> str:
    return f"{lease.job_id}.{lease.fence}"


def _living(store: JobStore, token: str) -> bool:
    job_id, _, fence = token.rpartition(".")
    return store.holds(job_id, int(fence)) if fence.isdigit() else False
