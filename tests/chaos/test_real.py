"""The real pipeline, killed and cancelled in real workers."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from geoanomaly.jobs import JobStore
from geoanomaly.jobs.tables import jobs
from geoanomaly.pipeline import run
from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec, JobStatus, Process, Scene, silent
from tasks.broker import wait_until_ready
from tasks.queue import ring, socket_path
from tests.rasters import change_pair
from tests.services import Processes, processes, wait_for

pytestmark = pytest.mark.service

LONG = pytest.mark.skipif("CHAOS" not in os.environ, reason="make chaos has the time for it")
CHUNKS = "surprise.zarr/c/*/*"


class Bench:
    """Broker, a worker with the real pipeline, and a scene pair of 320 x 320 pixels."""

    def __init__(self, settings: Settings, running: Processes, pair: tuple[Path, Path]) -> None:
        self.settings, self.running, self.pair = settings, running, pair
        self.store = JobStore(settings.database)

    def spec(self, **options: object) -> JobSpec:
        scenes = tuple(Scene(str(path)) for path in self.pair)
        return JobSpec(Process.DETECT_CHANGE, scenes, **{"detector": "rwr", **options})  # type: ignore[arg-type]

    def submit(self, spec: JobSpec) -> str:
        job_id = self.store.create(spec).id
        assert ring(job_id, self.settings)
        return job_id

    def chunks(self, job_id: str) -> list[Path]:
        found = (self.settings.scratch_dir / job_id).glob(CHUNKS)
        return [path for path in found if not path.name.endswith(".partial")]

    def worker_of(self, job_id: str) -> int:
        with self.store.database.read() as conn:
            row = conn.execute(jobs.select().where(jobs.c.id == job_id)).one()
        return int(row.owner.rpartition(":")[2])

    def end(self, job_id: str, seconds: float = 90) -> JobStatus:
        wait_for(lambda: self.store.get(job_id).status.final, "the job's end", seconds)
        return self.store.get(job_id).status


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return change_pair(tmp_path_factory.mktemp("pair"), size=320)[:2]


@pytest.fixture
def bench(pair: tuple[Path, Path]) -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp(prefix="real-", dir="/tmp"))
    settings = Settings(data_dir=folder, threads=1, lease_seconds=3, sweep_seconds=0.5)
    with processes(settings) as running:
        running.start("tasks.broker")
        wait_until_ready(settings)
        bench = Bench(settings, running, pair)
        yield bench
        bench.store.close()
    shutil.rmtree(folder)
    shutil.rmtree(socket_path(settings).parent, ignore_errors=True)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("victim", ["pool child", pytest.param("worker", marks=LONG)])
def test_a_killed_job_goes_on_from_its_tiles_to_the_same_bytes(
    bench: Bench, tmp_path: Path, victim: str
) -> None:
    spec = bench.spec(tile_size=32)
    run(
        spec, out=tmp_path / "out", scratch=tmp_path / "scratch", settings=bench.settings,
        report=silent,
    )  # fmt: skip
    job = bench.submit(spec)
    first = bench.running.start("tasks.worker")
    wait_for(lambda: len(bench.chunks(job)) >= 15, "15 of 100 tiles", 90)
    os.kill(bench.worker_of(job) if victim == "pool child" else first.pid, signal.SIGKILL)
    began = time.monotonic()
    done = {path: path.stat().st_mtime_ns for path in bench.chunks(job)}
    if victim == "worker":
        bench.running.start("tasks.worker")
    wait_for(lambda: bench.store.get(job).attempt == 2, "another attempt", 60)
    taken_over = time.monotonic() - began
    # Read while they are there: the folder goes with the job's end.
    kept = {path: path.stat().st_mtime_ns for path in done if path.exists()}
    assert bench.end(job) is JobStatus.SUCCESSFUL
    published = bench.settings.jobs_dir / job
    for name in ("heatmap.tif", "mask.tif", "anomalies.geojson"):
        assert digest(published / name) == digest(tmp_path / "out" / name), name
    counts = [
        int(line.text.split()[0])
        for line in bench.store.log(job)
        if re.match(r"\d+ of 100 tiles", line.text)
    ]
    assert counts[0] == 0
    assert counts[-1] >= len(done) >= 15, "it went on behind them"
    assert kept == {path: done[path] for path in kept}
    assert taken_over < 3 + 4 * 0.5 + 15, "lease, sweeps, and a start of a loaded machine"


@pytest.mark.parametrize("stage", ["fitting", pytest.param("scoring", marks=LONG)])
def test_a_running_job_stops_within_five_seconds(bench: Bench, stage: str) -> None:
    job = bench.submit(bench.spec(detector="cvae", tile_size=32))
    bench.running.start("tasks.worker")
    wait_for(lambda: bench.store.get(job).progress.stage == stage, stage, 120)
    began = time.monotonic()
    bench.store.dismiss(job)
    wait_for(lambda: bench.store.get(job).status.final, "its end", 10)
    assert time.monotonic() - began < 5
    assert bench.store.get(job).status is JobStatus.DISMISSED
    scratch = bench.settings.scratch_dir / job
    wait_for(lambda: not scratch.exists(), "the scratch folder to go", 10)


@LONG
def test_a_tile_that_cannot_be_read_fails_the_job_with_its_window(bench: Bench) -> None:
    pair = change_pair(bench.settings.data_dir / "pair", size=512)[:2]
    scenes = tuple(Scene(str(path)) for path in pair)
    spec = JobSpec(Process.DETECT_CHANGE, scenes, detector="rwr", tile_size=32)
    job = bench.submit(spec)
    bench.running.start("tasks.worker")
    wait_for(lambda: len(bench.chunks(job)) >= 10, "some tiles", 90)
    pair[0].unlink()
    assert bench.end(job) is JobStatus.FAILED
    reason = bench.store.get(job).progress.message
    assert re.search(r"tile \(\d+, \d+\) \(rows \d+-\d+, columns \d+-\d+\) failed 3 times", reason)
    assert "before.tif" in reason


def _mount(folder: Path, size: str) -> bool:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    if not _mount(folder, "24m"):
        pytest.skip("no tmpfs can be mounted here: run as root for a disk that is full")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_fails_the_job_and_leaves_earlier_results(
    small_disk: Path, pair: tuple[Path, Path]
) -> None:
    settings = Settings(data_dir=small_disk, threads=1, lease_seconds=3, sweep_seconds=0.5)
    with processes(settings) as running:
        running.start("tasks.broker")
        wait_until_ready(settings)
        running.start("tasks.worker")
        bench = Bench(settings, running, pair)
        spec = bench.spec(tile_size=128)
        first = bench.submit(spec)
        assert bench.end(first) is JobStatus.SUCCESSFUL, running.log("tasks.worker")
        heatmap = settings.jobs_dir / first / "heatmap.tif"
        before = digest(heatmap)
        filler = small_disk / "filler"
        room = shutil.disk_usage(small_disk).free - 400_000
        filler.write_bytes(bytes(room))
        second = bench.submit(spec)
        assert bench.end(second) is JobStatus.FAILED
        reason = bench.store.get(second).progress.message
        assert reason.startswith("The disk of the data folder is full ("), reason
        assert digest(heatmap) == before
        assert bench.store.get(first).status is JobStatus.SUCCESSFUL
        assert [path.name for path in settings.jobs_dir.glob("[!.]*")] == [first]
        filler.unlink()
        third = bench.submit(spec)
        assert bench.end(third) is JobStatus.SUCCESSFUL
        assert digest(settings.jobs_dir / third / "heatmap.tif") == before
        bench.store.close()
        assert psutil.disk_usage(str(small_disk)).percent < 90
