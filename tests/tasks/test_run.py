"""One job in this process: how each ending is recorded."""

from __future__ import annotations

import errno
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from geoanomaly.errors import LeaseLostError, ServiceError, TileError
from geoanomaly.jobs import JobStore, Lease, moves
from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec, JobStatus, Process, Progress, RunResult, Scene
from tasks import leftovers, run
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


def files(settings: Settings) -> set[str]:
    """All that lies in the folders of jobs, finished and not."""
    places = (settings.jobs_dir, settings.scratch_dir, settings.models_dir)
    found = (path for place in places for path in place.rglob("*") if not path.is_dir())
    return {str(path.relative_to(settings.data_dir)) for path in found}


def silence(settings: Settings, seconds: float = 60.0) -> None:
    """A sweep elsewhere has seen no renewal for so long."""
    steady = iter([0.0, *(float(n) for n in range(0, int(seconds), 5))])
    watcher = JobStore(settings.database, steady=lambda: next(steady))
    for _ in range(0, int(seconds), 5):
        watcher.sweep(9e9, settings.lease_seconds)
    watcher.close()


def work(store: JobStore, settings: Settings, pipeline: Callable[..., Any]) -> str:
    job_id = store.create(SPEC).id
    Runner(store, settings, lambda: pipeline, threading.Event()).run(job_id)
    return job_id


def test_pipeline_gets_its_folders(store: JobStore, settings: Settings) -> None:
    def pipeline(spec: JobSpec, **given: Any) -> RunResult:
        assert spec == SPEC
        assert given["settings"] == settings
        (given["scratch"] / "tile").touch()
        given["report"](Progress("scoring", 50.0))
        name = given["out"].name
        assert given["scratch"] == settings.scratch_dir / name
        (given["out"] / "heatmap.tif").write_text("whole")
        assert not (settings.jobs_dir / name).exists(), "nothing is published before the end"
        return RunResult(("heatmap.tif",))

    job = store.get(work(store, settings, pipeline))
    assert (job.status, job.outputs) == (JobStatus.SUCCESSFUL, ("heatmap.tif",))
    assert files(settings) == {f"jobs/{job.id}/heatmap.tif"}


def test_a_trained_model_is_published_with_its_job(store: JobStore, settings: Settings) -> None:
    texts = iter(["first", "second"])

    def pipeline(_: JobSpec, *, out: Path, **__: Any) -> RunResult:
        (out / "model.json").write_text(next(texts))
        return RunResult(("model.json",))

    spec = JobSpec(Process.TRAIN_MODEL, (Scene("after.tif"),), name="forest")
    for text in ("first", "second"):
        job_id = store.create(spec).id
        Runner(store, settings, lambda: pipeline, threading.Event()).run(job_id)
        assert (settings.jobs_dir / job_id / "model.json").read_text() == text
        assert (settings.models_dir / "forest" / "model.json").read_text() == text
    assert len(files(settings)) == 3, "and nothing else"


def test_a_full_disk_is_the_reason_that_is_recorded(store: JobStore, settings: Settings) -> None:
    def pipeline(_: JobSpec, *, out: Path, **__: Any) -> RunResult:
        (out / "big").write_text("half of it")
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise TileError("tile (0, 0) failed 3 times") from error

    job = store.get(work(store, settings, pipeline))
    assert job.status is JobStatus.FAILED
    assert re.match(
        r"The disk of the data folder is full \([\d,]+ MiB are free\)\. .* "
        r"\(tile \(0, 0\) failed 3 times\)",
        job.progress.message,
    )
    assert files(settings) == set()


def test_files_that_cannot_get_their_names_fail_the_job(
    store: JobStore, settings: Settings
) -> None:
    def pipeline(_: JobSpec, *, out: Path, **__: Any) -> RunResult:
        (out / "heatmap.tif").write_text("whole")
        (settings.jobs_dir / out.name).write_text("in the way")
        (out.parents[1] / "old").write_text("in the way")
        return RunResult(("heatmap.tif",))

    job = store.get(work(store, settings, pipeline))
    assert (job.status, job.outputs) == (JobStatus.FAILED, ())
    assert "Error" in job.progress.message


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
        silence(settings)
        taken.append(store.claim(job_id, "other", 60, 9))
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


def test_files_keep_their_names_when_the_row_could_not_say_so_at_once(
    store: JobStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database goes away between the rename and the commit, and comes back."""
    real, tries = moves.succeed, []

    def away_once(*given: Any) -> None:
        tries.append(given)
        if len(tries) == 1:
            raise ServiceError("away")
        real(*given)

    def pipeline(_: JobSpec, *, out: Path, **__: Any) -> RunResult:
        (out / "heatmap.tif").write_text("whole")
        return RunResult(("heatmap.tif",))

    monkeypatch.setattr(moves, "succeed", away_once)
    job = store.get(work(store, settings, pipeline))
    assert (job.status, len(tries)) == (JobStatus.SUCCESSFUL, 2)
    assert files(settings) == {f"jobs/{job.id}/heatmap.tif"}


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


def test_sweep_rings_although_nothing_can_be_removed(
    store: JobStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[str] = []
    monkeypatch.setattr("tasks.sweep.waiting", lambda _: 0)
    monkeypatch.setattr("tasks.sweep.ring", lambda job_id, _: rung.append(job_id))

    def forbidden(*_: Any) -> None:
        raise PermissionError("somebody else's")

    monkeypatch.setattr(leftovers, "clear", forbidden)
    job = store.create(SPEC)
    lease = store.claim(job.id, "w", 60, 3)
    assert lease is not None
    store.release(lease)
    sweep(store, settings)
    assert rung == [job.id]


def test_sweep_leaves_what_is_being_written(
    store: JobStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.sweep.waiting", lambda _: 0)
    monkeypatch.setattr("tasks.sweep.ring", lambda *_: True)

    def pipeline(_: JobSpec, *, out: Path, scratch: Path, **__: Any) -> RunResult:
        (out / "heatmap.tif").write_text("half")
        (scratch / "tile").touch()
        dead = leftovers.result(settings, Lease(out.name, "w0", fence=0, attempt=1))
        dead.written.mkdir(parents=True)
        sweep(store, settings)
        assert files(settings) == {
            str(path.relative_to(settings.data_dir))
            for path in (out / "heatmap.tif", scratch / "tile")
        }
        assert not dead.written.exists()
        return RunResult(("heatmap.tif",))

    assert store.get(work(store, settings, pipeline)).status is JobStatus.SUCCESSFUL


def test_files_of_a_job_that_was_dismissed_before_its_row_knew_of_them_go(
    store: JobStore, settings: Settings
) -> None:
    """Killed between the rename and the commit, then dismissed."""
    job_id = store.create(SPEC).id
    lease = store.claim(job_id, "w1", 60, 3)
    assert lease is not None
    leftovers.prepare(settings, lease)
    (leftovers.result(settings, lease).written / "heatmap.tif").write_text("whole")
    leftovers.publish(settings, lease, SPEC)
    store.dismiss(job_id)
    store.cancelled(lease)
    leftovers.clear(store, settings)
    assert files(settings) == set()
    assert not (settings.jobs_dir / job_id).exists()


def test_a_model_comes_back_whose_replacement_died_half_way(settings: Settings) -> None:
    old = settings.models_dir / "forest"
    old.mkdir(parents=True)
    (old / "model.json").write_text("old")
    attempt = leftovers.model(settings, Lease("j", "w", 1, 1), "forest")
    attempt.written.mkdir(parents=True)
    kept = attempt.written.parents[1] / "old"
    kept.mkdir()
    old.rename(kept / "forest")
    attempt.discard()
    assert files(settings) == {"models/forest/model.json"}
    assert (old / "model.json").read_text() == "old"
