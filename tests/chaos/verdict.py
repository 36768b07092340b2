"""What must be true when the dust has settled."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

from sqlalchemy import select

from geoanomaly.jobs import JobStore, Transition
from geoanomaly.jobs.states import LEGAL
from geoanomaly.jobs.tables import jobs
from geoanomaly.settings import Settings
from geoanomaly.types import JobStatus
from tests.chaos.client import History

Digest = Callable[[int], str]
"""sha256 of the heatmap that the undisturbed run of a seed publishes."""


def violations(settings: Settings, history: History, expected: Digest) -> list[str]:
    """Empty when every promise was kept. Ask when nothing runs any more."""
    store = JobStore(settings.database)
    try:
        with store.database.read() as conn:
            rows = {row.id: row for row in conn.execute(select(jobs))}
        found = list(history.odd)
        found += [f"{key} was lost" for key, p in history.promises.items() if p.job_id not in rows]
        promised = {promise.job_id: promise for promise in history.promises.values()}
        found += [f"job {job_id} was promised to nobody" for job_id in rows.keys() - promised]
        keys = Counter(row.idempotency_key for row in rows.values())
        found += [f"{key} has {count} jobs" for key, count in keys.items() if count > 1]
        for job_id, row in rows.items():
            found += [f"job {job_id}: {what}" for what in _told(store.history(job_id))]
            if row.owner is not None or row.lease_until is not None:
                found.append(f"job {job_id} has a lease left")
            found += _end(settings, row, promised[job_id].dismissed, expected)
    finally:
        store.close()
    return found + _leftovers(settings, {row.id for row in rows.values() if row.outputs})


def _told(steps: list[Transition]) -> list[str]:
    found = [
        f"illegal move {step.source} -> {step.target}"
        for step in steps
        if step.target not in LEGAL[step.source]
    ]
    found += [f"{b.target} follows {a.target}" for a, b in pairwise(steps) if b.source != a.target]
    found += [f"fence {a.fence} before {b.fence}" for a, b in pairwise(steps) if a.fence > b.fence]
    ends = sum(step.target.final for step in steps)
    return found if ends == 1 else [*found, f"ended {ends} times"]


def _end(settings: Settings, row: object, dismissed: bool, expected: Digest) -> list[str]:
    job_id, status = row.id, JobStatus(row.status)  # type: ignore[attr-defined]
    file = settings.jobs_dir / job_id / "heatmap.tif"
    if status is JobStatus.SUCCESSFUL:
        if not file.exists():
            return [f"job {job_id} has no file"]
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        same = digest == expected(row.spec["seed"])  # type: ignore[attr-defined]
        return [] if same else [f"job {job_id} has another sha256"]
    if status is JobStatus.DISMISSED and dismissed:
        return []
    return [f"job {job_id} is {status}: {row.message}"]  # type: ignore[attr-defined]


def _leftovers(settings: Settings, published: set[str]) -> list[str]:
    found = [f"{path} is left" for path in settings.scratch_dir.glob("*")]
    found += [f"{path} is left" for path in settings.jobs_dir.glob(".writing/*")]
    names = {path.name for path in settings.jobs_dir.glob("[!.]*")}
    return found + [f"published, but of no successful job: {name}" for name in names - published]
