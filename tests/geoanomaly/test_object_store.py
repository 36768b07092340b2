"""Scenes, unfinished tiles and outputs in an S3 store, which a real server plays here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster
from typer.testing import CliRunner

from geoanomaly.cli import app
from geoanomaly.remote import raster_href, remote_url
from tests.rasters import change_pair

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

    keys = {each["Key"] for each in s3.list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert {"out/one/heatmap.tif", "out/one/run.json", "out/one/anomalies.gpkg"} <= keys
    assert not any(key.startswith("scratch") for key in keys)
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
