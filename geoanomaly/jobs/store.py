"""The job store: every change of a job is one short transaction here.

A worker works under a `Lease`. All its writes carry the lease's fence, and a write
whose fence is not the current one is refused, so that a worker that was paused, cut
off or declared dead cannot overwrite what its successor did.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from datetime import datetime
from typing import Any, Self

from sqlalchemy import Delete, Select, Text, cast, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from geoanomaly.errors import UnknownSceneError
from geoanomaly.jobs import moves
from geoanomaly.jobs.database import Database
from geoanomaly.jobs.quotas import Quota, check_space, check_work
from geoanomaly.jobs.records import (
    Judgement,
    Lease,
    Remark,
    SceneRecord,
    Transition,
    Verdict,
    as_remark,
    job_of,
    judgement_of,
    moment,
    remark_of,
    scene_of,
    scene_values,
    transition_of,
)
from geoanomaly.jobs.statistics import Statistics, read_statistics, tally
from geoanomaly.jobs.tables import jobs, judgements, remarks, scenes, transitions
from geoanomaly.jobs.watch import Watch
from geoanomaly.types import Job, JobSpec, JobStatus, Price, Process, Progress

# `JobStore.list` hides the builtin inside the class.
Jobs = list[Job]
JobIds = list[str]
Scenes = list[SceneRecord]
History = list[Transition]
Judgements = list[Judgement]
Remarks = list[Remark]


def _nothing() -> None:
    """No files to publish."""


class JobStore:
    """Jobs and scenes in SQLite or PostgreSQL. Threads may share one; processes open their own.

    clock: seconds since the epoch, for every time that is stored; steady: seconds that never
    jump, by which a worker that fell silent is told.
    """

    def __init__(
        self,
        url: str,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self.database = Database(url)
        self._read, self._write = self.database.read, self.database.write
        self._tenant = ""
        self._sees: str | None = None
        self._watch = Watch(steady)

    def close(self) -> None:
        self.database.close()

    def on_behalf_of(self, tenant: str, *, sees_all: bool = False) -> Self:
        """The same store for one tenant: what others own is not there, unless it `sees_all`.

        New jobs and scenes belong to the tenant. Workers use the store itself, which sees all.
        """
        found = copy(self)
        found._tenant, found._sees = tenant, None if sees_all else tenant
        return found

    # What a user does.

    def create(
        self,
        spec: JobSpec,
        *,
        idempotency_key: str | None = None,
        price: Price | None = None,
        quota: Quota | None = None,
    ) -> Job:
        """Accept a job; the same key of one tenant gives the same job, whoever asks first.

        price: what was found out about its scenes; its notes are the first lines of the log.
        QuotaError when the job would be more than the tenant may have.
        """
        now = self._clock()
        key = moves.key_of(self._tenant, idempotency_key)
        try:
            with self._write() as conn:
                if same := moves.find_key(conn, key):
                    return job_of(same)
                if quota is not None:
                    check_work(conn, self._tenant, quota, price.pixels if price else 0, now)
                fresh = moves.accept(conn, spec, key, now, self._tenant, price)
                for note in price.notes if price else ():
                    moves.remark(conn, fresh.id, now, "checked", note)
                return job_of(fresh)
        except IntegrityError:
            # PostgreSQL: another process inserted the key after we looked.
            with self._read() as conn:
                row = moves.find_key(conn, key)
            if row is None:
                raise
            return job_of(row)

    def get(self, job_id: str) -> Job:
        with self._read() as conn:
            return job_of(moves.find(conn, job_id, sees=self._sees))

    def list(
        self,
        *,
        status: JobStatus | None = None,
        process: Process | None = None,
        since: datetime | None = None,
        text: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> Jobs:
        """Newest first. since: changed then or later; text: in what was asked, or its id begins so.

        Neither text nor process of a job ever changes.
        """
        query = select(jobs).order_by(jobs.c.seq.desc()).limit(limit).offset(offset)
        if self._sees is not None:
            query = query.where(jobs.c.tenant == self._sees)
        if status is not None:
            query = query.where(jobs.c.status == status)
        if process is not None:
            query = query.where(jobs.c.process == process)
        if since is not None:
            query = query.where(jobs.c.updated >= since.timestamp())
        if text:
            # The column holds JSON, where a letter may stand as its code.
            written = json.dumps(text)[1:-1]
            asked = cast(jobs.c.spec, Text).icontains(written, autoescape=True)
            query = query.where(or_(asked, jobs.c.id.startswith(text, autoescape=True)))
        with self._read() as conn:
            return [job_of(row) for row in conn.execute(query)]

    def counts(self) -> dict[JobStatus, int]:
        """How many jobs are in each state; states with none are there with 0."""
        query = select(jobs.c.status, func.count()).group_by(jobs.c.status)
        if self._sees is not None:
            query = query.where(jobs.c.tenant == self._sees)
        with self._read() as conn:
            found = {JobStatus(status): int(count) for status, count in conn.execute(query)}
        return {status: found.get(status, 0) for status in JobStatus}

    def dismiss(self, job_id: str) -> Job:
        """Cancel: at once where nobody works on the job, else the worker is asked to stop."""
        now = self._clock()
        with self._write() as conn:
            row = moves.find(conn, job_id, lock=True, sees=self._sees)
            status = JobStatus(row.status)
            if status is JobStatus.ACCEPTED or moves.expired(row, now):
                moves.dismiss(conn, row, now, "cancelled by the user")
            elif status is JobStatus.RUNNING:
                conn.execute(moves.one(job_id).values(cancel_requested=True, updated=now))
            return job_of(moves.find(conn, job_id))

    def history(self, job_id: str) -> History:
        """Every transition of a job, oldest first."""
        query = select(transitions).where(transitions.c.job_id == job_id)
        with self._read() as conn:
            moves.find(conn, job_id, sees=self._sees)
            return [transition_of(r) for r in conn.execute(query.order_by(transitions.c.seq))]

    def log(self, job_id: str) -> Remarks:
        """What happened to a job and what it said of itself, oldest first."""
        query = select(remarks).where(remarks.c.job_id == job_id).order_by(remarks.c.seq)
        steps = [as_remark(step) for step in self.history(job_id)]
        with self._read() as conn:
            said = [remark_of(row) for row in conn.execute(query)]
        return sorted(steps + said, key=lambda line: line.at)

    # What a worker does.

    def claim(self, job_id: str, owner: str, seconds: float, max_attempts: int) -> Lease | None:
        """Take the lease of a job that waits; None when it does not.

        A job that used up its attempts fails here.
        """
        now = self._clock()
        with self._write() as conn:
            row = conn.execute(moves.locked(job_id)).one_or_none()
            if row is None or row.status != JobStatus.ACCEPTED:
                return None
            if row.attempt >= max_attempts:
                moves.fail(conn, row, now, moves.worn_out(row.attempt, max_attempts))
                return None
            return moves.lease_out(conn, row, owner, now, seconds)

    def holds(self, job_id: str, fence: int) -> bool:
        """Whether the lease with this fence is the one under which the job runs now."""
        running = (jobs.c.id == job_id, jobs.c.fence == fence, jobs.c.status == JobStatus.RUNNING)
        with self._read() as conn:
            return conn.execute(select(jobs.c.id).where(*running)).one_or_none() is not None

    def renew(self, lease: Lease, seconds: float) -> bool:
        """Keep the lease; True when somebody asked the job to stop."""
        query = moves.held(lease).values(lease_until=self._clock() + seconds)
        with self._write() as conn:
            return moves.told(conn.execute(query.returning(jobs.c.cancel_requested)).all(), lease)

    def report(self, lease: Lease, progress: Progress) -> bool:
        """Store progress, whose percentage never falls; True when asked to stop. Renews nothing."""
        percent = min(max(progress.percent, 0.0), 100.0)
        with self._write() as conn:
            row = moves.owned(conn, lease)
            values = {
                "stage": progress.stage,
                "percent": max(percent, row.percent),
                "message": progress.message,
                "updated": self._clock(),
            }
            conn.execute(moves.one(lease.job_id).values(**values))
            moves.tally_tiles(conn, row, float(values["percent"]))
            if moves.is_news(row, progress):
                moves.remark(
                    conn, lease.job_id, values["updated"], progress.stage, progress.message
                )
            return bool(row.cancel_requested)

    def succeed(
        self,
        lease: Lease,
        outputs: tuple[str, ...],
        size: int = 0,
        publish: Callable[[], None] = _nothing,
    ) -> None:
        """size: bytes of the outputs together; publish: gives the files their names. It runs while
        the row is locked, so that no other worker can have the job then, and before the row says
        that they are there."""
        with self._write() as conn:
            row = moves.owned(conn, lease)
            publish()
            moves.succeed(conn, row, self._clock(), outputs, size)

    def fail(self, lease: Lease, reason: str) -> None:
        with self._write() as conn:
            moves.fail(conn, moves.owned(conn, lease), self._clock(), reason)

    def cancelled(self, lease: Lease) -> None:
        with self._write() as conn:
            moves.dismiss(conn, moves.owned(conn, lease), self._clock(), "stopped by its worker")

    def release(self, lease: Lease) -> None:
        """Give the job back unfinished, for another worker; the attempt does not count."""
        now = self._clock()
        with self._write() as conn:
            row = moves.owned(conn, lease)
            if row.cancel_requested:
                moves.dismiss(conn, row, now, "cancelled, and its worker shut down")
                return
            moves.give_back(conn, row, now)

    def sweep(self, undelivered_after: float, silent_after: float) -> JobIds:
        """Ids to ring again, oldest first: jobs that the broker or a worker lost.

        silent_after: seconds for which this store must have seen no renewal of a lease, from
        sweep to sweep, to take the job back. Whoever gets an id here is the only one who does
        for `undelivered_after` seconds.
        """
        now = self._clock()
        with self._read() as conn:
            beats = moves.beats(conn)
        silent = self._watch.silent(beats, silent_after)
        with self._write() as conn:
            for beat in silent:
                moves.take_back(conn, beat, now)
            ids = [row.id for row in conn.execute(moves.overdue(now, undelivered_after))]
            if ids:
                conn.execute(update(jobs).where(jobs.c.id.in_(ids)).values(rung=now))
            return ids

    # Judgements.

    def judge(self, job_id: str, row: int, col: int, verdict: Verdict, note: str) -> Judgement:
        """Record what somebody says of an anomaly; it takes the place of an earlier judgement."""
        judgement = Judgement(row, col, verdict, note, moment(self._clock()))
        values = {**vars(judgement), "job_id": job_id, "at": judgement.at.timestamp()}
        with self._write() as conn:
            moves.find(conn, job_id, lock=True, sees=self._sees)
            conn.execute(_judgement(job_id, row, col))
            conn.execute(insert(judgements).values(**values))
        return judgement

    def withdraw(self, job_id: str, row: int, col: int) -> None:
        """Take a judgement back; no error where there is none."""
        with self._write() as conn:
            moves.find(conn, job_id, lock=True, sees=self._sees)
            conn.execute(_judgement(job_id, row, col))

    def judgements(self, job_id: str) -> Judgements:
        """Of one job, oldest first."""
        query = select(judgements).where(judgements.c.job_id == job_id).order_by(judgements.c.at)
        with self._read() as conn:
            moves.find(conn, job_id, sees=self._sees)
            return [judgement_of(row) for row in conn.execute(query)]

    # Scenes.

    def add_scene(self, record: SceneRecord, quota: Quota | None = None) -> SceneRecord:
        """Register a scene of this tenant; the same id again replaces what was known of it.

        QuotaError when the tenant may not keep so much.
        """
        mine = replace(record, tenant=self._tenant)
        with self._write() as conn:
            if quota is not None:
                check_space(conn, self._tenant, quota, record.bytes)
            conn.execute(scenes.delete().where(scenes.c.id == record.id))
            conn.execute(insert(scenes).values(**scene_values(mine)))
        return mine

    def check_space(self, quota: Quota, size: int) -> None:
        """QuotaError when `size` bytes more are too much, before they are sent."""
        with self._read() as conn:
            check_space(conn, self._tenant, quota, size)

    def get_scene(self, scene_id: str) -> SceneRecord:
        with self._read() as conn:
            query = self._scenes().where(scenes.c.id == scene_id)
            row = conn.execute(query).one_or_none()
        if row is None:
            raise UnknownSceneError(scene_id)
        return scene_of(row)

    def list_scenes(self, *, limit: int = 100, offset: int = 0) -> Scenes:
        """Newest first."""
        query = self._scenes().order_by(scenes.c.created.desc(), scenes.c.id)
        with self._read() as conn:
            return [scene_of(row) for row in conn.execute(query.limit(limit).offset(offset))]

    def _scenes(self) -> Select[Any]:
        query = select(scenes)
        return query if self._sees is None else query.where(scenes.c.tenant == self._sees)

    # What all processes count together.

    def count(self, name: str, label: str = "") -> None:
        """One more of it, such as a refusal of the sandbox and its reason."""
        with self._write() as conn:
            tally(conn, name, label)

    def statistics(self) -> Statistics:
        """Of all tenants."""
        with self._read() as conn:
            return read_statistics(conn, self._clock())


def _judgement(job_id: str, row: int, col: int) -> Delete:
    table = judgements.c
    return judgements.delete().where(table.job_id == job_id, table.row == row, table.col == col)
