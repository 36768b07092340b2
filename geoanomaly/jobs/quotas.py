"""What one owner may have: checked in the transaction that would add to it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    String,
    bindparam,
    func,
    select,
    text,
)

from geoanomaly.errors import QuotaError
from geoanomaly.jobs.tables import jobs, scenes
from geoanomaly.types import JobStatus

DAY = 24 * 3600.0
LATER = 60
"""Seconds after which a queue may have moved on."""


@dataclass(frozen=True)
class Quota:
    """jobs: waiting or running; pixels: of all jobs accepted in 24 hours; bytes: kept."""

    jobs: int
    pixels: int
    bytes: int


def _kept() -> ColumnElement[int]:
    """Bytes of scenes and results. Most jobs have none, and only the others are in an index,
    which SQLite takes for a literal 0, not for a parameter."""
    kept, results = (
        select(func.coalesce(func.sum(table.c.bytes), 0))
        .where(table.c.tenant == _TENANT, table.c.bytes > text("0"))
        .scalar_subquery()
        for table in (scenes, jobs)
    )
    return kept + results


# Built once: with every submission that would take longer than the query itself.
_TENANT, _SINCE = bindparam("tenant", type_=String), bindparam("since", type_=Double)
_MINE, _RECENT = jobs.c.tenant == _TENANT, jobs.c.created > _SINCE
_BUSY = jobs.c.status.in_((JobStatus.ACCEPTED, JobStatus.RUNNING))
_KEPT = _kept()
_USED = select(
    _KEPT,
    select(func.count()).where(_MINE, _BUSY).scalar_subquery(),
    select(func.coalesce(func.sum(jobs.c.pixels), 0)).where(_MINE, _RECENT).scalar_subquery(),
)
"""Bytes kept, jobs that wait or run, pixels of late."""


def _first(conn: Connection, tenant: str, since: float) -> float:
    query = select(func.min(jobs.c.created)).where(_MINE, _RECENT)
    return float(conn.scalar(query, {"tenant": tenant, "since": since}) or since)


def check_work(conn: Connection, tenant: str, quota: Quota, pixels: int, now: float) -> None:
    """QuotaError when one more job of `pixels` is too much for the tenant."""
    _alone(conn, tenant)
    since = now - DAY
    kept, count, used = conn.execute(_USED, {"tenant": tenant, "since": since}).one()
    _check_space(int(kept), quota, 0)
    if pixels > quota.pixels:
        raise QuotaError(
            f"The job covers {pixels:,} pixels, an owner may have {quota.pixels:,} in 24 hours "
            "(GEOANOMALY_QUOTA_PIXELS). Give a smaller area."
        )
    if count >= quota.jobs:
        raise QuotaError(
            f"You have {count} jobs waiting or running, the limit is {quota.jobs} "
            "(GEOANOMALY_QUOTA_JOBS). Wait for one to end, or cancel one.",
            retry_after=LATER,
        )
    if used + pixels > quota.pixels:
        raise QuotaError(
            f"Your jobs of the last 24 hours cover {used:,} pixels, and this one {pixels:,}; the "
            f"limit is {quota.pixels:,} (GEOANOMALY_QUOTA_PIXELS). Give a smaller area, or wait.",
            retry_after=max(1, round(_first(conn, tenant, since) - since)),
        )


def check_space(conn: Connection, tenant: str, quota: Quota, size: int) -> None:
    """QuotaError when `size` bytes more are too much for the tenant."""
    _check_space(int(conn.scalar(select(_KEPT), {"tenant": tenant}) or 0), quota, size)


def _check_space(used: int, quota: Quota, size: int) -> None:
    if used + size > quota.bytes:
        raise QuotaError(
            f"Your scenes and results have {used:,} bytes, and {size:,} more are too many: the "
            f"limit is {quota.bytes:,} (GEOANOMALY_QUOTA_BYTES). Ask the operator of the service "
            "for more, or to remove old ones."
        )


def _alone(conn: Connection, tenant: str) -> None:
    """SQLite has one writer at a time; in PostgreSQL two of a tenant must not count at once."""
    if conn.dialect.name == "postgresql":
        conn.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": tenant})
