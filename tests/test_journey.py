"""From an upload to a map, through the real service: broker, worker, web server, pipeline.

Nothing here is put in place of anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import morecantile
import numpy as np
import psutil
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.warp import transform_geom
from sklearn.metrics import average_precision_score

from geoanomaly.cli import main
from geoanomaly.client import Client
from geoanomaly.errors import JobFailedError, ResultNotReadyError
from geoanomaly.jobs import JobStore
from geoanomaly.service import Service
from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec, JobStatus, Process, Scene
from tasks.queue import ring, socket_path
from tests.rasters import NORTH_UP, UTM, change_pair, texture, write_raster
from tests.services import mentioning, postgres, processes, valkey_url, wait_for

__all__ = ["postgres", "valkey_url"]

pytestmark = pytest.mark.service

COMMAND = str(Path(sys.executable).with_name("geoanomaly"))
TRIANGLE = [[500_400, 5_398_800], [501_200, 5_398_800], [500_400, 5_399_600], [500_400, 5_398_800]]

Pair = tuple[Path, Path, NDArray[np.bool_]]
Command = Callable[..., str]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return change_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one service for all tests of this module."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("service"), threads=2)
    with Service(settings, "127.0.0.1", 0) as running:
        yield running.url
    assert mentioning(str(settings.data_dir)) == []
    assert not socket_path(settings).parent.exists()


@pytest.fixture
def client(service: str) -> Iterator[Client]:
    with Client(service) as found:
        yield found


@pytest.fixture
def http(service: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service, timeout=60) as found:
        yield found


@pytest.fixture(scope="module")
def scenes(service: str, pair: Pair) -> dict[str, str]:
    """Scene ids of the pair, as the inputs of a change job."""
    with Client(service) as client:
        return {"before": client.upload(pair[0]), "after": client.upload(pair[1])}


@pytest.fixture
def command(
    service: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """`geoanomaly ...` in this process against the service; gives what it prints."""
    monkeypatch.setenv("GEOANOMALY_URL", service)

    def running(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["geoanomaly", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert ended.value.code == 0, said
        return said.out

    return running


def end(client: Client, job_id: str) -> dict[str, Any]:
    return list(client.watch(job_id))[-1]


def pixels(path: Path) -> NDArray[np.float32]:
    with rasterio.open(path) as raster:
        return np.asarray(raster.read(1))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def area(corners: list[list[float]]) -> dict[str, Any]:
    """A GeoJSON polygon in degrees from corners in the CRS of the scenes."""
    polygon = {"type": "Polygon", "coordinates": [corners]}
    found: dict[str, Any] = transform_geom(UTM, "EPSG:4326", polygon)
    return found


# The whole way.


def test_the_service_gives_the_pixels_of_the_command(
    pair: Pair, tmp_path: Path, command: Command
) -> None:
    before, after, truth = pair
    options = ("--before", before, "--detector", "rwr", "--tile-size", "64")
    job_id = command("submit", after, *options, "--wait").strip()
    state = json.loads(command("status", job_id))
    assert (state["status"], state["progress"], state["processID"]) == (
        "successful",
        100,
        "detect-change",
    )
    assert re.search(rf"^{job_id}  successful 100 %  detect-change$", command("status"), re.M)
    files = command("download", job_id, "--out", tmp_path / "theirs").split()
    assert sorted(files) == sorted(str(path) for path in (tmp_path / "theirs").iterdir())
    command("detect", after, *options, "--out", tmp_path / "ours")
    theirs, ours = (tmp_path / name / "heatmap.tif" for name in ("theirs", "ours"))
    assert np.array_equal(pixels(theirs), pixels(ours))
    assert sha256(theirs) == sha256(ours)
    assert average_precision_score(truth.ravel(), pixels(theirs).ravel()) > 0.95
    with rasterio.open(theirs) as found, rasterio.open(after) as scene:
        assert (found.crs, found.transform, found.shape) == (
            scene.crs,
            scene.transform,
            scene.shape,
        )
        assert np.isnan(found.nodata)
    only = command("download", job_id, "--out", tmp_path / "one", "--name", "mask.tif")
    assert only.strip() == str(tmp_path / "one" / "mask.tif")
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["mask.tif"]


def test_the_map_and_its_tiles_answer(
    client: Client, http: httpx.Client, scenes: dict[str, str]
) -> None:
    job_id = client.submit("detect-change", {**scenes, "detector": "rwr"})
    assert end(client, job_id)["status"] == "successful"
    page = http.get(f"/jobs/{job_id}/map")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "tiles/heatmap/" in page.text
    root = f"/jobs/{job_id}/tiles/heatmap/WebMercatorQuad"
    found = http.get(f"{root}/tilejson.json").json()
    west, south, east, north = found["bounds"]
    tiles = morecantile.tms.get("WebMercatorQuad")
    place = tiles.tile((west + east) / 2, (south + north) / 2, found["maxzoom"])
    tile = http.get(found["tiles"][0].format(z=place.z, x=place.x, y=place.y))
    assert (tile.status_code, tile.headers["content-type"]) == (200, "image/png")
    assert tile.content.startswith(b"\x89PNG")
    assert http.get("/ui").status_code == 200


def test_an_area_clips_the_job(client: Client, scenes: dict[str, str], tmp_path: Path) -> None:
    inputs = {**scenes, "detector": "rwr", "aoi": area(TRIANGLE)}
    job_id = client.submit("detect-change", inputs)
    assert end(client, job_id)["status"] == "successful"
    client.download(job_id, tmp_path, ["heatmap.tif"])
    with rasterio.open(tmp_path / "heatmap.tif") as raster:
        bounds = (500_400, 5_398_800, 501_200, 5_399_600)
        assert raster.bounds == pytest.approx(bounds, abs=10.1)
        values = raster.read(1)
    assert np.isnan(values[:30, -30:]).all()
    assert np.isfinite(values[-20:-2, 2:20]).all()


def test_a_model_is_trained_and_used(
    client: Client, scenes: dict[str, str], http: httpx.Client, tmp_path: Path
) -> None:
    inputs = {"scenes": [scenes["before"]], "name": "fields", "detector": "rx"}
    training = client.submit("train-model", inputs)
    assert end(client, training)["status"] == "successful"
    client.download(training, tmp_path)
    card = json.loads((tmp_path / "model.json").read_text())
    job_id = client.submit("detect-anomaly", {"scene": scenes["after"], "model": "fields"})
    assert end(client, job_id)["status"] == "successful"
    client.download(job_id, tmp_path, ["run.json", "heatmap.tif"])
    report = json.loads((tmp_path / "run.json").read_text())
    assert report["model"]["name"] == "fields"
    assert report["model"]["digest"] == card["digest"]
    assert np.isfinite(pixels(tmp_path / "heatmap.tif")).all()

    five = write_raster(tmp_path / "five.tif", texture(1, 5, 64, 64))
    with unchanged_jobs(http):
        other = {"scene": client.upload(five), "model": "fields"}
        assert "5 bands" in refused(http, "detect-anomaly", other, 400, "scene")
        unknown = {"scene": scenes["after"], "model": "woods"}
        assert "fields" in refused(http, "detect-anomaly", unknown, 404, "model")


# The queue.


@pytest.fixture(scope="module")
def slow(service: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A change job for a worker's many seconds: 256 tiles, and a network to fit."""
    before, after, _ = change_pair(tmp_path_factory.mktemp("slow"), size=512)
    with Client(service) as client:
        return {"before": client.upload(before), "after": client.upload(after)}


def test_jobs_wait_for_each_other(
    client: Client, slow: dict[str, str], scenes: dict[str, str], tmp_path: Path
) -> None:
    first = client.submit("detect-change", {**slow, "detector": "rwr", "tile_size": 32})
    wait_for(lambda: client.status(first)["status"] == "running", "the first job to run")
    second = client.submit("detect-change", {**scenes, "detector": "rwr"})
    assert client.status(second)["status"] == "accepted"
    assert client.status(first)["status"] == "running"
    for job_id in (first, second):
        with pytest.raises(ResultNotReadyError, match=job_id):
            client.download(job_id, tmp_path / "early")
    assert not (tmp_path / "early").exists()
    states = [end(client, job_id) for job_id in (first, second)]
    assert [state["status"] for state in states] == ["successful", "successful"]
    # Times in one format and zone are ordered as text.
    assert states[0]["finished"] <= states[1]["started"]


def test_cancel_while_queued_and_while_running(
    client: Client, slow: dict[str, str], scenes: dict[str, str], command: Command, tmp_path: Path
) -> None:
    running = client.submit("detect-change", {**slow, "detector": "cvae"})
    queued = client.submit("detect-change", {**scenes, "detector": "rwr"})
    kept = client.submit("detect-change", {**scenes, "detector": "rwr"})
    wait_for(lambda: client.status(running)["stage"] == "fitting", "the network's training", 30)
    assert command("cancel", queued).strip() == "dismissed"
    assert client.status(queued)["status"] == "dismissed", "at once: no worker has it"
    assert "started" not in client.status(queued)
    assert client.status(running)["status"] == "running"
    command("cancel", running)
    wait_for(lambda: client.status(running)["status"] == "dismissed", "the job to stop", 8)
    for job_id in (running, queued):
        with pytest.raises(JobFailedError, match="dismissed"):
            client.download(job_id, tmp_path / "none")
    assert end(client, kept)["status"] == "successful", "the worker goes on with the next"
    assert client.status(queued)["status"] == "dismissed"


# What is refused, before there is a job.


class unchanged_jobs:  # noqa: N801 (reads as a statement)
    """No job is made inside."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def _list(self) -> list[str]:
        return [job["jobID"] for job in self._http.get("/jobs?limit=1000").json()["jobs"]]

    def __enter__(self) -> None:
        self._before = self._list()

    def __exit__(self, *_: object) -> None:
        assert self._list() == self._before


def refused(
    http: httpx.Client, process: str, inputs: dict[str, Any], status: int, field: str
) -> str:
    """The detail of the problem document."""
    answer = http.post(f"/processes/{process}/execution", json={"inputs": inputs})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["field"]) == (status, field), problem
    return str(problem["detail"])


def test_a_wrong_request_makes_no_job(
    client: Client, http: httpx.Client, scenes: dict[str, str], tmp_path: Path
) -> None:
    ground = texture(3, 4, 192, 192)
    bare = client.upload(write_raster(tmp_path / "bare.tif", ground, crs=None))
    move = NORTH_UP @ rasterio.transform.Affine.translation(5_000, 0)
    far = client.upload(write_raster(tmp_path / "far.tif", ground, transform=move))
    # Uploads are checked for their sensor where it is given, so this one has none.
    five = client.upload(write_raster(tmp_path / "five.tif", texture(3, 5, 192, 192)))
    nothing = write_raster(tmp_path / "nothing.tif", np.zeros_like(ground), nodata=0)
    empty = client.upload(nothing)
    tie = [[15.0, 48.70], [15.02, 48.74], [15.02, 48.70], [15.0, 48.74], [15.0, 48.70]]
    crossing = {"type": "Polygon", "coordinates": [tie]}
    away = area([[100_000 + x, y] for x, y in TRIANGLE])
    here = area(TRIANGLE)
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"aoi": away}, "aoi", "covers no pixel"),
        ({"aoi": crossing}, "aoi", "Self-intersection"),
        ({"before": bare, "after": bare, "aoi": here}, "after", "no CRS"),
        ({"before": far}, "before", "do not overlap"),
        ({"after": five, "sensor": "landsat-c2-l2"}, "after", "5 bands are no layout"),
        ({"after": empty}, "after", "0 of 36,864 pixels are valid"),
        ({"detector": "best"}, "detector", "Known: auto, cvae, rwr"),
        ({"detector": "rx"}, "detector", "does not serve detect-change"),
        ({"sensor": "modis"}, "sensor", "Known: sentinel-2-l2a"),
        ({"tile_size": 31}, "tile_size", "multiple of 32 in 32 to 4096"),
        ({"after": "nowhere"}, "after", "no scene 'nowhere'"),
    ]
    with unchanged_jobs(http):
        for change, field, words in cases:
            assert words in refused(http, "detect-change", {**scenes, **change}, 400, field)
    unknown = http.get("/jobs/nowhere")
    assert (unknown.status_code, unknown.json()["type"].rsplit("/", 1)[-1]) == (404, "no-such-job")


def test_a_file_that_is_cut_short_is_no_scene(
    http: httpx.Client, pair: Pair, scenes: dict[str, str]
) -> None:
    assert scenes
    before = http.get("/scenes").json()["scenes"]
    whole = pair[1].read_bytes()
    answer = http.post("/scenes", files={"file": ("cut.tif", whole[: len(whole) // 2])})
    assert answer.status_code == 400
    assert answer.json()["field"] == "file"
    assert http.get("/scenes").json()["scenes"] == before


# More than one machine's form: PostgreSQL, Valkey over TCP, two workers.


def test_two_workers_share_jobs_and_agree(
    pair: Pair, tmp_path: Path, valkey_url: str, postgres: Callable[[], str]
) -> None:
    settings = Settings(
        data_dir=tmp_path / "data", broker_url=valkey_url, database_url=postgres(), threads=1
    )
    paths = tuple(Scene(str(path)) for path in pair[:2])
    spec = JobSpec(Process.DETECT_CHANGE, paths, detector="rwr", tile_size=64)
    with processes(settings) as running:
        running.start("tasks.worker")
        running.start("tasks.worker")
        wait_for(lambda: running.log("tasks.worker").count(" ready.") == 2, "two workers", 40)
        store = JobStore(settings.database)
        try:
            jobs = [store.create(spec).id for _ in range(4)]
            assert all(ring(job, settings) for job in jobs)
            wait_for(lambda: all(store.get(job).status.final for job in jobs), "four jobs", 60)
            ends = [store.get(job) for job in jobs]
            notes = [move.note for job in jobs for move in store.history(job)]
        finally:
            store.close()
        assert [job.status for job in ends] == [JobStatus.SUCCESSFUL] * 4, running.log(
            "tasks.worker"
        )
    owners = {note.split(" by ")[1] for note in notes if " by " in note}
    assert len(owners) == 2, notes
    assert len({sha256(settings.jobs_dir / job / "heatmap.tif") for job in jobs}) == 1


# The demo.


class Demo:
    """`geoanomaly demo` as a process whose temporary files are its own."""

    def __init__(self, *arguments: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gd-", dir="/tmp"))  # short: it holds a socket
        self.output = self.folder.with_suffix(".out")
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [COMMAND, "demo", "--port", "0", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TMPDIR": str(self.folder), "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self.output.read_text()

    def wait_until_served(self) -> None:
        ended = self.process.poll
        wait_for(lambda: "Ctrl-C stops it" in self.said or ended() is not None, "a verdict", 240)
        assert ended() is None, self.said

    def assert_judged(self) -> None:
        score = re.search(r"^average precision +([0-9.]+)", self.said, re.M)
        assert score is not None, self.said
        assert float(score[1]) > 0.5, "the planted changes are found"
        assert re.search(r"^map: +http://127\.0\.0\.1:\d+/ui/jobs/\w+$", self.said, re.M)

    def assert_gone(self) -> None:
        """No process of it, and no file but the folder that torch makes for its own cache."""
        assert mentioning(str(self.folder)) == []
        left = [path.name for path in self.folder.iterdir()]
        assert [name for name in left if not name.startswith("torchinductor_")] == []

    def close(self) -> None:
        if self.process.poll() is None:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                child.kill()
            self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.output.unlink()


@pytest.fixture(scope="module")
def demos() -> Iterator[tuple[Demo, Demo]]:
    """Two at the same time, which also shows that they do not get in each other's way."""
    started: list[Demo] = []
    try:
        started.append(Demo("--once", "--size", "256"))
        started.append(Demo("--size", "128"))
        yield started[0], started[1]
    finally:
        for demo in started:
            demo.close()


def test_the_demo_serves_until_ctrl_c(demos: tuple[Demo, Demo]) -> None:
    demo = demos[1]
    demo.wait_until_served()
    demo.assert_judged()
    address = re.search(r"^map: +(\S+)$", demo.said, re.M)
    assert address is not None
    assert httpx.get(address[1]).status_code == 200
    assert len(mentioning(str(demo.folder))) >= 5, "command, broker, valkey, worker, web"
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(20) == 0, demo.said
    assert "Traceback" not in demo.said
    demo.assert_gone()


def test_the_demo_ends_by_itself_when_asked(demos: tuple[Demo, Demo]) -> None:
    demo = demos[0]
    assert demo.process.wait(240) == 0, demo.said
    demo.assert_judged()
    assert "generating: a scene pair of 256 x 256 pixels" in demo.said
    demo.assert_gone()
