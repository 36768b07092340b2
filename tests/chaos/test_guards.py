"""Each guard taken away: then the attack that it stops succeeds."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import UniqueConstraint, text

from geoanomaly import publication
from geoanomaly.errors import LeaseLostError, ServiceError
from geoanomaly.jobs import JobStore, Lease, moves, tables
from geoanomaly.settings import Settings
from geoanomaly.types import Job, JobSpec, JobStatus, Process, Scene
from tasks import leftovers, run
from tasks.run import Runner
from tasks.sweep import sweep
from tests.chaos import lives
from tests.chaos.points import Death, Side
from tiling import cog

SPEC = JobSpec(Process.DETECT_ANOMALY, (Scene("a.tif"),))
guard = pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "unguarded"])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, threads=1)


@pytest.fixture
def store(settings: Settings) -> Iterator[JobStore]:
    ticks = iter(range(0, 10_000, 9))
    store = JobStore(settings.database, steady=lambda: float(next(ticks)))
    yield store
    store.close()


def claim(store: JobStore, job: Job, owner: str) -> Lease:
    lease = store.claim(job.id, owner, 30, 3)
    assert lease is not None
    return lease


def silence(store: JobStore) -> None:
    for _ in range(6):
        store.sweep(9e9, 30)


@guard
def test_fencing(
    store: JobStore, settings: Settings, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    """A worker that slept wakes up, and publishes while its successor works."""
    if not guarded:
        monkeypatch.setattr(moves, "_holds", lambda *_: True)
    job = store.create(SPEC)
    old = claim(store, job, "w1")
    written = leftovers.prepare(settings, old)
    (written / "heatmap.tif").write_text("the sleeper's")
    silence(store)
    claim(store, job, "w2")
    attack = lambda: store.succeed(  # noqa: E731
        old, ("heatmap.tif",), 1, lambda: leftovers.publish(settings, old, SPEC)
    )
    if guarded:
        with pytest.raises(LeaseLostError):
            attack()
    else:
        attack()
    published = (settings.jobs_dir / job.id / "heatmap.tif").exists()
    assert (published, store.get(job.id).status) == (
        (False, JobStatus.RUNNING) if guarded else (True, JobStatus.SUCCESSFUL)
    )


@guard
def test_begin_immediate(
    store: JobStore, settings: Settings, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    """Somebody writes between the read and the write of a transaction."""
    job = store.create(SPEC)
    other = JobStore(settings.database)
    writer = threading.Thread(target=other.create, args=(SPEC,))
    begin = "BEGIN IMMEDIATE" if guarded else "BEGIN"
    monkeypatch.setattr(
        tables, "_begin_sqlite", lambda conn: conn.exec_driver_sql(begin), raising=True
    )
    attacked = JobStore(settings.database)

    def attack() -> None:
        with attacked.database.write() as conn:
            row = moves.find(conn, job.id, lock=True)
            writer.start()
            writer.join(1.0)
            moves.dismiss(conn, row, 0.0, "")

    if guarded:
        attack()
    else:
        with pytest.raises(ServiceError, match="locked"):
            attack()
    writer.join()
    assert store.get(job.id).status is (JobStatus.DISMISSED if guarded else JobStatus.ACCEPTED)
    for each in (other, attacked):
        each.close()


@guard
def test_unique_key(settings: Settings, monkeypatch: pytest.MonkeyPatch, guarded: bool) -> None:
    """Two submissions with one key, of which neither saw the other (as PostgreSQL allows it)."""
    unique = next(
        rule
        for rule in tables.jobs.constraints
        if isinstance(rule, UniqueConstraint) and "idempotency_key" in rule.columns
    )
    if not guarded:
        monkeypatch.setattr(tables.jobs, "constraints", tables.jobs.constraints - {unique})
    store = JobStore(settings.database)
    real, blind = moves.find_key, iter([None, None])
    look = lambda conn, key: next(blind, real(conn, key))  # noqa: E731
    monkeypatch.setattr(moves, "find_key", look)
    ids = {store.create(SPEC, idempotency_key="k").id for _ in range(2)}
    assert len(ids) == (1 if guarded else 2)
    store.close()


@guard
def test_sweep(
    store: JobStore, settings: Settings, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    """A worker died with the job, and the broker has forgotten its ring."""
    rung: list[str] = []
    monkeypatch.setattr("tasks.sweep.ring", lambda job_id, _: rung.append(job_id))
    monkeypatch.setattr("tasks.sweep.waiting", lambda _: 0)
    if not guarded:
        monkeypatch.setattr(moves, "beats", lambda _: [])
    job = store.create(SPEC)
    claim(store, job, "w1")
    for _ in range(6):
        sweep(store, settings)
    assert rung == ([job.id] if guarded else [])


@guard
def test_rename(tmp_path: Path, guarded: bool) -> None:
    """The process is killed when half of the COG is written: nobody may find that."""
    if not guarded:
        # Straight into the folder that is read, under the name that is read.
        patched = pytest.MonkeyPatch()
        in_place = property(lambda self: self.root / self.name)
        patched.setattr(publication.Attempt, "written", in_place)
        patched.setattr(cog._Writing, "partial", property(lambda self: self.path))
    try:
        assert lives.live("detected", tmp_path / "whole") == 0
        names = (tmp_path / "whole" / "points").read_text().split("\n")
        death = Death(names.index("copy raster"), Side.MIDDLE)
        assert lives.live("detected", tmp_path / "cut", death) != 0
    finally:
        if not guarded:
            patched.undo()
    torn = list((tmp_path / "cut" / "jobs").glob("[!.]*/heatmap.tif"))
    assert bool(torn) is not guarded


@guard
def test_fsync(
    store: JobStore, settings: Settings, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    """The power fails right after the row says successful: what nobody waited for is lost."""
    if not guarded:
        for module in (cog, publication):
            monkeypatch.setattr(module, "sync", lambda _: None)
    disk = Disk(monkeypatch)
    monkeypatch.setattr(run, "ring", lambda *_: True)
    job = store.create(SPEC)
    Runner(store, settings, lambda: lives.pipeline, threading.Event()).run(job.id)
    assert store.get(job.id).status is JobStatus.SUCCESSFUL
    folder = settings.jobs_dir / job.id
    lost = [path.name for path in (*folder.iterdir(), folder) if not disk.keeps(path)]
    assert sorted(lost) == ([] if guarded else sorted(["heatmap.tif", "run.json", job.id]))


class Disk:
    """A disk that keeps a file only if it was synced, and a name only if its folder was, after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._synced: dict[int, int] = {}
        self._named: dict[int, int] = {}
        self._now = 0
        for name in ("rename", "replace"):
            monkeypatch.setattr(os, name, self._watched(getattr(os, name), self._name))
        monkeypatch.setattr(os, "fsync", self._watched(os.fsync, self._sync))

    def keeps(self, path: Path) -> bool:
        here, folder = path.stat().st_ino, path.parent.stat().st_ino
        return here in self._synced and self._synced.get(folder, 0) > self._named.get(here, 0)

    def _watched(
        self, function: Callable[..., Any], note: Callable[..., None]
    ) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            answer = function(*args, **kwargs)
            self._now += 1
            note(*args)
            return answer

        return call

    def _name(self, _: Any, new: Any) -> None:
        self._named[os.stat(new).st_ino] = self._now  # noqa: PTH116

    def _sync(self, descriptor: int) -> None:
        self._synced[os.fstat(descriptor).st_ino] = self._now


def test_the_database_waits_for_the_disk(store: JobStore) -> None:
    """Both are needed for a commit to outlive a power cut; SQLite's own tests try the rest."""
    with store.database.read() as conn:
        assert conn.execute(text("PRAGMA synchronous")).scalar() == 2, "FULL"
        assert conn.execute(text("PRAGMA journal_mode")).scalar() == "wal"
