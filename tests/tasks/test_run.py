"""One job in this process: how each ending is recorded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from geoanomaly.errors import LeaseLostError, ServiceError
from geoanomaly.jobs import JobStore
from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec, JobStatus, Process, Progress, RunResult, Scene
from tasks import run
from tasks.run import Runner, insist
from tasks.sweep import sweep

SPEC = JobSpec(Process.DETECT_ANOMALY, (Scene("after.tif"),))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, lease_seconds=0.6, sweep_seconds=0.01)


@pytest.fixture
def store(settings: Settings) -> Iterator[JobStore]:
    store = JobStore(settings.database)
    yield store
    store.close()


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids that were rung for; there is no broker here."""
    ids: list[str] = []
    monkeypatch.setattr(run, "ring", lambda job_id, _: ids.append(job_id))
    return ids


def work(store: JobStore, settings: Settings, pipeline: Callable[..., Any]) -> str:
    job_id = store.create(SPEC).id
    Runner(store, settings, lambda: pipeline, threading.Event()).run(job_id)
    return job_id


def test_pipeline_gets_its_folders(store: JobStore, settings: Settings) -> None:
    def pipeline(spec: JobSpec, **given: Any) -> RunResult:
        assert spec == SPEC
        assert given["settings"] == settings
        given["scratch"].mkdir(parents=True)
        given["report"](Progress("scoring", 50.0))
        name = given["out"].name
        assert given["out"] == settings.jobs_dir / name
        assert given["scratch"] == settings.scratch_dir / name
        return RunResult(("heatmap.tif",))

    job = store.get(work(store, settings, pipeline))
    assert (job.status, job.outputs) == (JobStatus.SUCCESSFUL, ("heatmap.tif",))
    assert list(settings.scratch_dir.iterdir()) == []


def test_pipeline_that_cannot_be_imported_fails_the_job(
    store: JobStore, settings: Settings
) -> None:
    def load() -> run.Pipeline:
        raise ImportError("no torch here")

    job_id = store.create(SPEC).id
    Runner(store, settings, load, threading.Event()).run(job_id)
    assert store.get(job_id).progress.message == "ImportError: no torch here"


def test_loser_of_a_lease_records_nothing(store: JobStore, settings: Settings) -> None:
    """While the job was stuck its lease expired and another worker took it."""
    taken = []

    def stuck(_: JobSpec, *, report: Callable[[Progress], None], **__: Any) -> RunResult:
        job_id = store.list()[0].id
        while not taken:
            lease = JobStore(settings.database, lambda: 9e9).claim(job_id, "other", 60, 9)
            taken.extend([lease] if lease else [])
        with pytest.raises(LeaseLostError):
            report(Progress("scoring", 99.0))
        return RunResult(("wrong.tif",))

    job = store.get(work(store, settings, stuck))
    assert (job.status, job.outputs, job.progress.percent) == (JobStatus.RUNNING, (), 0.0)
    store.succeed(taken[0], ("right.tif",))


def test_ended_process_gives_the_job_back(
    store: JobStore, settings: Settings, rung: list[str]
) -> None:
    def ended(*_: Any, **__: Any) -> RunResult:
        raise SystemExit

    with pytest.raises(SystemExit):
        work(store, settings, ended)
    job = store.list()[0]
    assert (job.status, job.attempt, rung) == (JobStatus.ACCEPTED, 0, [job.id])


def test_job_outlives_a_database_that_is_away(
    store: JobStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> bool:
        raise ServiceError("away")

    def pipeline(_: JobSpec, *, report: Callable[[Progress], None], **__: Any) -> RunResult:
        with monkeypatch.context() as during:
            during.setattr(JobStore, "report", away)
            during.setattr(JobStore, "renew", away)
            report(Progress("scoring", 10.0))
        return RunResult(())

    assert store.get(work(store, settings, pipeline)).status is JobStatus.SUCCESSFUL


def test_an_end_is_recorded_as_soon_as_the_database_is_back() -> None:
    answers: list[Exception | None] = [ServiceError("away"), None]

    def record() -> None:
        answer = answers.pop(0)
        if answer:
            raise answer

    insist(record, seconds=5)
    assert answers == []
    answers += [ServiceError("away"), ServiceError("away")]
    with pytest.raises(ServiceError):
        insist(record, seconds=0)


def test_progress_is_not_written_for_every_tile(store: JobStore, settings: Settings) -> None:
    seen = []

    def pipeline(_: JobSpec, *, report: Callable[[Progress], None], **__: Any) -> RunResult:
        for percent in range(50):
            report(Progress("scoring", float(percent)))
        report(Progress("writing", 60.0))
        seen.append(store.list()[0].progress)
        return RunResult(())

    job_id = work(store, settings, pipeline)
    assert seen == [Progress("writing", 60.0)]
    assert store.get(job_id).updated >= store.get(job_id).created


def test_sweep_clears_what_ended_jobs_left(
    store: JobStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.sweep.waiting", lambda _: 0)
    monkeypatch.setattr("tasks.sweep.ring", lambda *_: True)
    ended, open_ = store.create(SPEC).id, store.create(SPEC).id
    store.dismiss(ended)
    for name in (ended, open_, "not-a-job"):
        (settings.scratch_dir / name).mkdir(parents=True)
    sweep(store, settings)
    left = {folder.name for folder in settings.scratch_dir.iterdir()}
    assert left == {open_, "not-a-job"}
