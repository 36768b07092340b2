"""What one owner may have: checked in the transaction that would add to it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select, text

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


def check_work(conn: Connection, tenant: str, quota: Quota, pixels: int, now: float) -> None:
    """QuotaError when one more job of `pixels` is too much for the tenant."""
    _alone(conn, tenant)
    check_space(conn, tenant, quota, 0)
    if pixels > quota.pixels:
        raise QuotaError(
            f"The job covers {pixels:,} pixels, an owner may have {quota.pixels:,} in 24 hours "
            "(GEOANOMALY_QUOTA_PIXELS). Give a smaller area."
        )
    mine = jobs.c.tenant == tenant
    busy = jobs.c.status.in_((JobStatus.ACCEPTED, JobStatus.RUNNING))
    count = conn.scalar(select(func.count()).where(mine, busy)) or 0
    if count >= quota.jobs:
        raise QuotaError(
            f"You have {count} jobs waiting or running, the limit is {quota.jobs} "
            "(GEOANOMALY_QUOTA_JOBS). Wait for one to end, or cancel one.",
            retry_after=LATER,
        )
    recent = select(func.sum(jobs.c.pixels), func.min(jobs.c.created))
    used, first = conn.execute(recent.where(mine, jobs.c.created > now - DAY)).one()
    if (used or 0) + pixels > quota.pixels:
        raise QuotaError(
            f"Your jobs of the last 24 hours cover {used:,} pixels, and this one {pixels:,}; the "
            f"limit is {quota.pixels:,} (GEOANOMALY_QUOTA_PIXELS). Give a smaller area, or wait.",
            retry_after=max(1, round(first + DAY - now)),
        )


def check_space(conn: Connection, tenant: str, quota: Quota, size: int) -> None:
    """QuotaError when `size` bytes more are too much for the tenant."""
    tables = (scenes, jobs)
    sums = [select(func.sum(t.c.bytes)).where(t.c.tenant == tenant) for t in tables]
    used = sum(int(conn.scalar(each) or 0) for each in sums)
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
