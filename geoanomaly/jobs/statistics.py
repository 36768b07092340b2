"""What there is to watch of all jobs, and what processes count together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects import postgresql, sqlite

from geoanomaly.jobs.tables import counters, jobs
from geoanomaly.types import JobStatus

_INSERT: Mapping[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


@dataclass(frozen=True)
class Statistics:
    """queue_age: seconds since the oldest waiting job came; silent: jobs with an expired lease.

    counters: values by name and label; they only ever grow.
    """

    jobs: Mapping[JobStatus, int]
    queue_age: float
    silent: int
    counters: Mapping[tuple[str, str], int]


def read_statistics(conn: Connection, now: float) -> Statistics:
    query = select(jobs.c.status, func.count()).group_by(jobs.c.status)
    by_status = {JobStatus(status): int(count) for status, count in conn.execute(query)}
    waiting = select(jobs.c.created).where(jobs.c.status == JobStatus.ACCEPTED)
    oldest = conn.scalar(waiting.order_by(jobs.c.seq).limit(1))
    running = jobs.c.status == JobStatus.RUNNING
    silent = conn.scalar(select(func.count()).where(running, jobs.c.lease_until < now))
    rows = conn.execute(select(counters).order_by(counters.c.name, counters.c.label))
    return Statistics(
        {status: by_status.get(status, 0) for status in JobStatus},
        0.0 if oldest is None else max(0.0, now - oldest),
        int(silent or 0),
        {(row.name, row.label): int(row.value) for row in rows},
    )


def tally(conn: Connection, name: str, label: str = "", by: int = 1) -> None:
    """Count `by` more of it; any number of processes may."""
    first = _INSERT[conn.dialect.name](counters).values(name=name, label=label, value=by)
    conn.execute(
        first.on_conflict_do_update(
            index_elements=[counters.c.name, counters.c.label],
            set_={"value": counters.c.value + by},
        )
    )
