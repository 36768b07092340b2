"""Real worker processes on a real broker, with a pipeline that only counts."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from geoanomaly.jobs import JobStore
from geoanomaly.settings import Settings
from geoanomaly.types import Job, JobSpec, JobStatus, Process, Scene
from tasks.broker import ping
from tasks.queue import ring, socket_path
from tests.services import Processes, processes, wait_for

pytestmark = pytest.mark.service

WORKER = "tests.tasks.fake_worker"


class Bench:
    """A job store with its broker and as many workers as a test starts."""

    def __init__(self, settings: Settings, running: Processes) -> None:
        self.settings, self.running = settings, running
        self.store = JobStore(settings.database)

    def worker(self, *arguments: str) -> subprocess.Popen[bytes]:
        return self.running.start(WORKER, *arguments)

    def submit(self, orders: str, *, ringing: bool = True) -> str:
        spec = JobSpec(Process.DETECT_ANOMALY, (Scene(orders),))
        job_id = self.store.create(spec).id
        assert not ringing or ring(job_id, self.settings)
        return job_id

    def status(self, job_id: str) -> JobStatus:
        return self.store.get(job_id).status

    def end(self, job_id: str, seconds: float = 25) -> Job:
        try:
            wait_for(lambda: self.status(job_id).final, "the end of the job", seconds)
        except BaseException:
            print(self.running.log(WORKER))
            raise
        return self.store.get(job_id)

    def steps(self, job_id: str) -> list[tuple[float, int, int]]:
        """(time, process, step) of what the pipeline did."""
        places = (self.scratch(job_id), self.settings.jobs_dir / job_id)
        file = next((f / "steps.log" for f in places if (f / "steps.log").exists()), None)
        lines = file.read_text().split("\n")[:-1] if file else []
        return [(float(at), int(pid), int(step)) for at, pid, step, _ in map(str.split, lines)]

    def started(self, job_id: str, steps: int = 3) -> int:
        """The process that works on the job, once it has done some steps."""
        wait_for(lambda: len(self.steps(job_id)) >= steps, f"{steps} steps of the job")
        return self.steps(job_id)[-1][1]

    def scratch(self, job_id: str) -> Path:
        return self.settings.scratch_dir / job_id


def settings_of(folder: Path, **changes: object) -> Settings:
    quick = {"lease_seconds": 1.5, "sweep_seconds": 0.3, "threads": 4}
    return Settings(data_dir=folder, **{**quick, **changes})  # type: ignore[arg-type]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    settings = settings_of(tmp_path)
    with processes(settings) as running:
        running.start("tasks.broker")
        bench = Bench(settings, running)
        wait_for(lambda: ping(socket_path(settings)), "the broker")
        yield bench
        bench.store.close()


def test_jobs_run_one_after_the_other(bench: Bench) -> None:
    first, second = bench.submit("steps=10"), bench.submit("steps=10")
    bench.worker()
    done = bench.end(first)
    assert (done.status, done.outputs) == (JobStatus.SUCCESSFUL, ("steps.log",))
    assert (done.progress.stage, done.progress.percent, done.attempt) == ("done", 100.0, 1)
    bench.end(second)
    assert bench.steps(first)[-1][0] < bench.steps(second)[0][0]
    wait_for(lambda: not bench.scratch(second).exists(), "the scratch folder to go")


def test_failures_are_recorded(bench: Bench) -> None:
    ours, bug = bench.submit("steps=1,fail=input"), bench.submit("steps=1,fail=bug")
    unrung = bench.submit("steps=1", ringing=False)
    bench.worker("--pool=solo")
    assert bench.end(ours).progress.message == "a.tif has no pixels. Send another."
    assert bench.end(bug).progress.message == "ZeroDivisionError: oops"
    assert bench.status(bug) is JobStatus.FAILED
    assert "Traceback" in bench.running.log(WORKER)
    assert bench.end(unrung).status is JobStatus.SUCCESSFUL, "the sweep delivers"


def test_two_workers_share(bench: Bench) -> None:
    jobs = [bench.submit("steps=15,pause=0.05") for _ in range(4)]
    bench.worker()
    bench.worker()
    for job in jobs:
        bench.end(job)
        assert len(bench.steps(job)) == 15, "every step once"
    assert len({bench.steps(job)[0][1] for job in jobs}) == 2


def test_concurrency_divides_the_threads(bench: Bench) -> None:
    jobs = [bench.submit("steps=20,pause=0.05") for _ in range(2)]
    bench.worker("--concurrency=2")
    for job in jobs:
        bench.end(job)
        log = (bench.settings.jobs_dir / job / "steps.log").read_text()
        assert log.split()[3] == "2"
    assert bench.steps(jobs[0])[0][0] < bench.steps(jobs[1])[-1][0]
    assert bench.steps(jobs[1])[0][0] < bench.steps(jobs[0])[-1][0]


def test_killed_child_is_replaced_and_the_job_goes_on(bench: Bench) -> None:
    job = bench.submit("steps=30,pause=0.05")
    bench.worker()
    os.kill(bench.started(job), signal.SIGKILL)
    done = bench.end(job)
    assert (done.status, done.attempt) == (JobStatus.SUCCESSFUL, 2)
    assert [step for _, _, step in bench.steps(job)] == list(range(30))


def test_killed_worker_leaves_no_orphan_and_the_job_to_another(bench: Bench) -> None:
    job = bench.submit("steps=40,pause=0.05")
    worker = bench.worker()
    child = psutil.Process(bench.started(job))
    bench.worker()
    os.kill(worker.pid, signal.SIGKILL)
    assert bench.end(job).status is JobStatus.SUCCESSFUL
    assert len({pid for _, pid, _ in bench.steps(job)}) == 2
    wait_for(lambda: not child.is_running() or child.status() == "zombie", "the child's end")


def test_cancel_while_queued_and_while_running(bench: Bench) -> None:
    queued, running = bench.submit("steps=3"), bench.submit("steps=1000,pause=0.02")
    assert bench.store.dismiss(queued).status is JobStatus.DISMISSED, "with no worker there"
    bench.worker()
    bench.started(running)
    assert bench.store.dismiss(running).status is JobStatus.RUNNING
    assert bench.end(running, seconds=5).status is JobStatus.DISMISSED
    assert len(bench.steps(running)) < 1000
    assert bench.steps(queued) == []
    wait_for(lambda: not bench.scratch(running).exists(), "the scratch folder to go")


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_shutdown_gives_the_job_to_another_worker(bench: Bench, pool: str) -> None:
    job = bench.submit("steps=50,pause=0.03")
    first = bench.worker(f"--pool={pool}")
    bench.started(job)
    first.send_signal(signal.SIGTERM)
    assert first.wait(8) == 0
    assert bench.status(job) is JobStatus.ACCEPTED
    bench.worker()
    done = bench.end(job)
    assert (done.status, done.attempt) == (JobStatus.SUCCESSFUL, 1)
    assert [step for _, _, step in bench.steps(job)] == list(range(50))


def test_shutdown_of_a_job_without_checkpoints(bench: Bench) -> None:
    job = bench.submit("steps=2,pause=60,deaf=1")
    worker = bench.worker()
    wait_for(lambda: bench.status(job) is JobStatus.RUNNING, "the job to run")
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    wait_for(lambda: bench.status(job) is JobStatus.ACCEPTED, "the job to be given back")
    assert time.monotonic() - began < 8


def test_broker_killed_and_started_again(bench: Bench) -> None:
    running = bench.submit("steps=40,pause=0.05")
    bench.worker()
    bench.started(running)
    broker = bench.running.started[0]
    os.killpg(broker.pid, signal.SIGKILL)
    began = time.monotonic()
    lost = bench.submit("steps=2", ringing=False)
    assert not ring(lost, bench.settings)
    assert time.monotonic() - began < 3, "a POST must not hang"
    assert bench.end(running).status is JobStatus.SUCCESSFUL, "work goes on without a broker"
    bench.running.start("tasks.broker")
    assert bench.end(lost).status is JobStatus.SUCCESSFUL


def test_tcp_broker_and_postgresql(
    tmp_path: Path, valkey_url: str, postgres: Callable[[], str]
) -> None:
    """The processes of the Compose file, by hand."""
    settings = settings_of(tmp_path, broker_url=valkey_url, database_url=postgres())
    with processes(settings) as running:
        bench = Bench(settings, running)
        jobs = [bench.submit("steps=20,pause=0.05") for _ in range(3)]
        bench.worker()
        bench.worker()
        for job in jobs:
            assert bench.end(job).status is JobStatus.SUCCESSFUL
        assert len({bench.steps(job)[0][1] for job in jobs}) == 2
        bench.store.close()
