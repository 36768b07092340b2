"""Scenes, unfinished tiles and outputs in an S3 store, which a real server plays here."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster
from odc.geo.geobox import GeoBox
from typer.testing import CliRunner

from geoanomaly import remote, unfinished
from geoanomaly.cli import app
from geoanomaly.errors import TileError
from geoanomaly.jobs import JobStore
from geoanomaly.remote import raster_href, remote_url
from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec, JobStatus, Process, RunResult, Scene
from tasks import leftovers
from tasks.run import Runner
from tests.rasters import NORTH_UP, UTM, change_pair
from tiling.grid import TileGrid
from tiling.scratch import TileStore

BUCKET = "ground"


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of the store; this process and its children find it by the environment."""
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_S3_ENDPOINT": f"{host}:{port}",  # GDAL's name for it
            "AWS_HTTPS": "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client
    server.stop()


@pytest.fixture
def cluster(s3: Any) -> Iterator[str]:
    assert s3, "its workers learn where the store is from the environment"
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster.scheduler_address


@pytest.mark.service
def test_a_cluster_that_shares_only_a_store_gives_the_same_bytes(
    s3: Any, cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEOANOMALY_DATA_DIR", str(tmp_path / "data"))
    before, after, _ = change_pair(tmp_path)
    detect(after, before, tmp_path / "here")

    for path in (before, after):
        s3.upload_file(str(path), BUCKET, path.name)
    monkeypatch.setenv("GEOANOMALY_DASK_SCHEDULER", cluster)
    monkeypatch.setenv("GEOANOMALY_SCRATCH_URL", f"s3://{BUCKET}/scratch")
    there = f"s3://{BUCKET}"
    said = detect(f"{there}/{after.name}", f"{there}/{before.name}", f"{there}/out/one")
    assert f"{there}/out/one/heatmap.tif" in said

    names = ("heatmap.tif", "run.json", "anomalies.gpkg")
    assert {f"out/one/{name}" for name in names} <= keys(s3, "out")
    assert keys(s3, "scratch") == set()
    stored = s3.get_object(Bucket=BUCKET, Key="out/one/heatmap.tif")["Body"].read()
    local = (tmp_path / "here" / "heatmap.tif").read_bytes()
    assert hashlib.sha256(stored).hexdigest() == hashlib.sha256(local).hexdigest()


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_is_not_there_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEOANOMALY_DATA_DIR", str(tmp_path / "data"))
    before, after, _ = change_pair(tmp_path)
    with pytest.raises(Exception, match="s3://no-such-bucket/out cannot be written"):
        detect(after, before, "s3://no-such-bucket/out")


def test_tiles_of_a_job_that_failed_leave_the_bucket(s3: Any, tmp_path: Path) -> None:
    """At once, or by the sweep when the store could not be reached."""
    settings = Settings(data_dir=tmp_path, scratch_url=f"s3://{BUCKET}/scratch/")
    store = JobStore(settings.database)
    s3.put_object(Bucket=BUCKET, Key="scratch/other/tile", Body=b"")

    def pipeline(spec: JobSpec, *, scratch: Path, **_: Any) -> RunResult:
        location = unfinished.tiles(scratch, settings)
        assert location == f"s3://{BUCKET}/scratch/{scratch.name}/surprise.zarr"
        TileStore(location).create(TileGrid(GeoBox((40, 60), NORTH_UP, UTM), 32))
        assert len(keys(s3, "scratch")) > 1
        raise TileError(f"{spec.scenes[0].href}: tile (0, 0) failed 3 times")

    def fail() -> Path:
        job_id = store.create(JobSpec(Process.DETECT_ANOMALY, (Scene("after.tif"),))).id
        Runner(store, settings, lambda: pipeline, threading.Event()).run(job_id)
        assert store.get(job_id).status is JobStatus.FAILED
        return settings.scratch_dir / job_id

    assert not fail().exists()
    assert keys(s3, "scratch") == {"scratch/other/tile"}, "another job's stay"

    with pytest.MonkeyPatch.context() as away:
        away.setattr(remote, "remove", unreachable)
        folder = fail()
        assert folder.exists(), "the mark that something is left"
    assert len(keys(s3, "scratch")) > 1
    leftovers.clear(store, settings)
    assert not folder.exists()
    assert keys(s3, "scratch") == {"scratch/other/tile"}
    store.close()


def unreachable(url: str) -> None:
    raise OSError(f"{url} cannot be removed: no route to host")


def keys(s3: Any, prefix: str) -> set[str]:
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return {each["Key"] for each in found.get("Contents", ())}


def detect(after: Path | str, before: Path | str, out: Path | str) -> str:
    arguments = ["--before", before, "--detector", "rwr", "--tile-size", "64", "--out", out]
    result = CliRunner().invoke(app, [str(each) for each in ("detect", after, *arguments)])
    if result.exception:
        raise result.exception
    return result.output


def test_urls_survive_a_path() -> None:
    assert remote_url(Path("s3://bucket/a/b")) == "s3://bucket/a/b"
    assert remote_url(Path("out/here")) is None
    assert raster_href(Path("s3://bucket/a.tif")) == "/vsis3/bucket/a.tif"
    assert raster_href(Path("https://host/a.tif")) == "https://host/a.tif"
    assert raster_href(Path("scene.tif")) == "scene.tif"
