"""What a transaction of the store is made of: rows found under a lock, and moves between states."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, Update, insert, or_, select, update

from geoanomaly.errors import LeaseLostError, UnknownJobError
from geoanomaly.jobs.records import Lease
from geoanomaly.jobs.states import check_move
from geoanomaly.jobs.statistics import tally
from geoanomaly.jobs.tables import jobs, remarks, transitions
from geoanomaly.jobs.watch import Beat
from geoanomaly.types import JobSpec, JobStatus, Price, Progress

JobRow = Row[Any]

NEVER = 0.0
"""In `rung`: due at once, whatever lies in the queue."""


def locked(job_id: str) -> Select[Any]:
    """A job's row, locked until the transaction ends (SQLite has locked the whole file already)."""
    return select(jobs).where(jobs.c.id == job_id).with_for_update()


def find(conn: Connection, job_id: str, *, lock: bool = False, sees: str | None = None) -> JobRow:
    """sees: the tenant to whom other tenants' jobs are unknown; None = all are known."""
    query = locked(job_id) if lock else select(jobs).where(jobs.c.id == job_id)
    if sees is not None:
        query = query.where(jobs.c.tenant == sees)
    row = conn.execute(query).one_or_none()
    if row is None:
        raise UnknownJobError(job_id)
    return row


def key_of(tenant: str, key: str | None) -> str | None:
    """How the idempotency key of a tenant is kept: no other tenant's is ever the same."""
    if key is None or not tenant:
        return key
    return f"{tenant}/{hashlib.sha256(key.encode()).hexdigest()}"


def find_key(conn: Connection, key: str | None) -> JobRow | None:
    if key is None:
        return None
    return conn.execute(select(jobs).where(jobs.c.idempotency_key == key)).one_or_none()


def owned(conn: Connection, lease: Lease) -> JobRow:
    """The row, locked, if the lease still holds it."""
    row = conn.execute(locked(lease.job_id)).one_or_none()
    if row is None or not _holds(row, lease):
        raise lost(lease)
    return row


def held(lease: Lease) -> Update:
    """An update of the leased row that touches nothing when the lease is lost."""
    return update(jobs).where(
        jobs.c.id == lease.job_id,
        jobs.c.owner == lease.owner,
        jobs.c.fence == lease.fence,
        jobs.c.status == JobStatus.RUNNING,
    )


def one(job_id: str) -> Update:
    return update(jobs).where(jobs.c.id == job_id)


def lost(lease: Lease) -> LeaseLostError:
    return LeaseLostError(
        f"Lease {lease.fence} of job {lease.job_id} ({lease.owner}) is no longer valid: it expired "
        "and another worker has the job, or the job has ended."
    )


def expired(row: JobRow, now: float) -> bool:
    """Nobody renewed its lease, as far as the clock on the wall can tell."""
    return row.status == JobStatus.RUNNING and bool(row.lease_until < now)


def beats(conn: Connection) -> list[Beat]:
    """All leases, oldest job first."""
    columns = (jobs.c.id, jobs.c.fence, jobs.c.lease_until)
    query = select(*columns).where(jobs.c.status == JobStatus.RUNNING).order_by(jobs.c.seq)
    return [Beat(*row) for row in conn.execute(query)]


def overdue(now: float, undelivered_after: float) -> Select[Any]:
    """Jobs that wait and that nobody was told of lately, oldest first."""
    # Rung in the future: the clock was set back, and what it says of the past is worth nothing.
    unheard = or_(jobs.c.rung <= max(NEVER, now - undelivered_after), jobs.c.rung > now)
    query = select(jobs).where(jobs.c.status == JobStatus.ACCEPTED, unheard).order_by(jobs.c.seq)
    # Two sweeps at once share the rows instead of waiting for each other.
    return query.with_for_update(skip_locked=True)


def accept(
    conn: Connection,
    spec: JobSpec,
    key: str | None,
    now: float,
    tenant: str = "",
    price: Price | None = None,
) -> JobRow:
    """Insert a new job."""
    job_id = uuid.uuid4().hex
    check_move(None, JobStatus.ACCEPTED)
    values: dict[str, Any] = {
        "id": job_id,
        "idempotency_key": key,
        "process": spec.process.value,
        "spec": spec.to_json(),
        "status": JobStatus.ACCEPTED,
        "stage": "queued",
        "percent": 0.0,
        "message": "",
        "created": now,
        "updated": now,
        "attempt": 0,
        "cancel_requested": False,
        "outputs": [],
        "fence": 0,
        "rung": now,
        "tenant": tenant,
        "pixels": price.pixels if price else 0,
        "tiles": price.tiles if price else 0,
    }
    row = conn.execute(insert(jobs).returning(jobs), values).one()
    _record(conn, job_id, now, None, JobStatus.ACCEPTED, 0, "")
    return row


def lease_out(conn: Connection, row: JobRow, owner: str, now: float, seconds: float) -> Lease:
    lease = Lease(row.id, owner, fence=row.fence + 1, attempt=row.attempt + 1)
    note = f"attempt {lease.attempt} by {owner}"
    values = {
        "stage": "starting",
        "message": "" if lease.attempt == 1 else f"Attempt {lease.attempt} after a worker stopped.",
        "started": row.started or now,
        "owner": owner,
        "fence": lease.fence,
        "attempt": lease.attempt,
        "lease_until": now + seconds,
    }
    move(conn, row, JobStatus.RUNNING, now, note, **values)
    return lease


def give_back(conn: Connection, row: JobRow, now: float) -> None:
    """Waiting again, with its attempt back, and due to be rung at once."""
    values = {"stage": "queued", "message": "", "attempt": row.attempt - 1, "rung": NEVER}
    move(conn, row, JobStatus.ACCEPTED, now, "its worker shut down", **values)


def take_back(conn: Connection, beat: Beat, now: float) -> None:
    """From a worker that fell silent, whose attempt counts; due to be rung at once."""
    row = conn.execute(locked(beat.job_id)).one()
    if row.status != JobStatus.RUNNING or (row.fence, row.lease_until) != (beat.fence, beat.until):
        return  # Renewed, ended or taken back by another sweep, a moment ago.
    if row.cancel_requested:
        dismiss(conn, row, now, "cancelled, and its worker fell silent")
        return
    values = {"stage": "queued", "message": "Its worker fell silent.", "rung": NEVER}
    move(conn, row, JobStatus.ACCEPTED, now, "its worker fell silent", **values)
    tally(conn, "lease_takeovers")


def dismiss(conn: Connection, row: JobRow, now: float, note: str) -> None:
    values = {"stage": "dismissed", "message": "", "cancel_requested": True}
    move(conn, row, JobStatus.DISMISSED, now, note, **values)


def succeed(
    conn: Connection, row: JobRow, now: float, outputs: tuple[str, ...], size: int = 0
) -> None:
    values: dict[str, Any] = {"stage": "done", "percent": 100.0, "outputs": [*outputs]}
    values["bytes"] = size
    move(conn, row, JobStatus.SUCCESSFUL, now, message="", **values)
    tally_tiles(conn, row, 100.0)
    tally(conn, "pixels", by=row.pixels)
    tally(conn, "job_seconds", by=max(0, round(now - row.started)))


def tally_tiles(conn: Connection, row: JobRow, percent: float) -> None:
    """Count the tiles that have come since the row was read: its percentage never falls."""
    before, after = (int(row.tiles * share / 100) for share in (row.percent, percent))
    if after > before:
        tally(conn, "tiles", by=after - before)


def fail(conn: Connection, row: JobRow, now: float, reason: str) -> None:
    move(conn, row, JobStatus.FAILED, now, reason, stage="failed", message=reason)


def move(
    conn: Connection, row: JobRow, target: JobStatus, now: float, note: str = "", **values: Any
) -> None:
    """The one door between states: checked, written, and entered in the history."""
    source = JobStatus(row.status)
    check_move(source, target)
    if target.final:
        values["finished"] = now
    if target is not JobStatus.RUNNING:
        values.update(owner=None, lease_until=None)
    conn.execute(one(row.id).values(status=target, updated=now, **values))
    _record(conn, row.id, now, source, target, values.get("fence", row.fence), note)


def remark(conn: Connection, job_id: str, now: float, stage: str, text: str) -> None:
    conn.execute(insert(remarks), {"job_id": job_id, "at": now, "stage": stage, "text": text})


def is_news(row: JobRow, progress: Progress) -> bool:
    """Whether it says more than another count of the same: "3 of 8 tiles" after "2 of 8 tiles"."""
    said, says = (_COUNT.sub("", text) for text in (row.message, progress.message))
    return bool(progress.message) and (row.stage, said) != (progress.stage, says)


# Numbers, and the words that come and go between them: "1 min 3 s", "0.4 a second".
_COUNT = re.compile(r"[\d.,]+|\b(?:h|min|s|a second|left)\b|\s")


def worn_out(attempts: int, limit: int) -> str:
    return (
        f"A worker stopped without a word in each of {attempts} attempts (limit {limit}): it was "
        "killed or ran out of memory. Try a smaller area or tile size; the worker's log says more."
    )


def told(cancels: Sequence[Any], lease: Lease) -> bool:
    """What `held(...)` returned: whether to stop, from the one row that it touched."""
    if not cancels:
        raise lost(lease)
    return bool(cancels[0][0])


def _holds(row: JobRow, lease: Lease) -> bool:
    current = (row.status, row.owner, row.fence)
    return current == (JobStatus.RUNNING, lease.owner, lease.fence)


def _record(
    conn: Connection,
    job_id: str,
    now: float,
    source: JobStatus | None,
    target: JobStatus,
    fence: int,
    note: str,
) -> None:
    values = {"job_id": job_id, "at": now, "source": source, "target": target}
    conn.execute(insert(transitions), {**values, "fence": fence, "note": note})
