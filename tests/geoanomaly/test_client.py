"""The client against a real service."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from geoanomaly import errors
from geoanomaly.client import Client
from geoanomaly.types import Job, Progress
from tests.web.backend import Backend, ground, publish_outputs, running_backend, write_raster

# rasterio 1.4 multiplies transforms with '*', which affine 3 wants to be '@' one day.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with running_backend(tmp_path_factory.mktemp("client")) as found:
        yield found


@pytest.fixture(scope="module")
def done(backend: Backend) -> Job:
    return backend.finished_pair()


@pytest.fixture
def client(backend: Backend) -> Iterator[Client]:
    with Client(f"{backend.url}/") as found:
        yield found


def finish_soon(backend: Backend, job_id: str) -> threading.Timer:
    def work() -> None:
        lease = backend.store.claim(job_id, "test", 60, 3)
        assert lease is not None
        backend.store.report(lease, Progress("scoring", 50.0, "half"))
        folder = backend.settings.jobs_dir / job_id
        folder.mkdir(parents=True)
        backend.store.succeed(lease, publish_outputs(folder))

    timer = threading.Timer(0.7, work)
    timer.start()
    return timer


def test_from_upload_to_files(backend: Backend, client: Client, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "fields.tif", ground(4))
    before, after = client.upload(path, sensor="generic"), client.upload(path, date="2024-06-30")
    job_id = client.submit("detect-change", {"before": before, "after": after, "seed": 1})
    assert client.status(job_id)["status"] == "accepted"
    assert job_id in [job["jobID"] for job in client.jobs(status="accepted")]
    timer = finish_soon(backend, job_id)
    states = list(client.watch(job_id))
    timer.join()
    assert (states[0]["status"], states[-1]["status"]) == ("accepted", "successful")
    files = client.download(job_id, tmp_path / "out")
    assert sorted(file.name for file in files) == [
        "anomalies.geojson",
        "anomalies.gpkg",
        "heatmap.tif",
        "mask.tif",
        "run.json",
    ]
    for file in files:
        assert file.read_bytes() == (backend.settings.jobs_dir / job_id / file.name).read_bytes()
    assert sorted((tmp_path / "out").iterdir()) == sorted(files)


def test_some_files_only(client: Client, done: Job, tmp_path: Path) -> None:
    (file,) = client.download(done.id, tmp_path, ["mask.tif"])
    assert file == tmp_path / "mask.tif"
    with pytest.raises(errors.NotFoundError, match=r"heatmap\.tif"):
        client.download(done.id, tmp_path, ["nothing.tif"])


def test_the_same_key_gives_the_same_job(backend: Backend, client: Client) -> None:
    before, after = backend.pair()
    inputs = {"before": {"href": str(before)}, "after": {"href": str(after)}}
    ids = {client.submit("detect-change", inputs, idempotency_key="k") for _ in range(2)}
    assert len(ids) == 1


def test_cancel(backend: Backend, client: Client) -> None:
    job = backend.accept()
    assert client.cancel(job.id)["status"] == "dismissed"
    with pytest.raises(errors.JobFailedError, match="dismissed"):
        client.download(job.id, Path("unused"))


def test_errors_are_those_of_the_tree(backend: Backend, client: Client, tmp_path: Path) -> None:
    with pytest.raises(errors.SceneError, match="no file") as missing:
        client.upload(tmp_path / "none.tif")
    assert missing.value.field == "file"
    text = tmp_path / "text.tif"
    text.write_text("text")
    with pytest.raises(errors.SceneError, match="not a GeoTIFF"):
        client.upload(text)
    with pytest.raises(errors.SceneError, match="missing") as scene:
        client.submit("detect-change", {})
    assert scene.value.field == "before"
    before, after = backend.pair()
    pair = {"before": {"href": str(before)}, "after": {"href": str(after)}}
    with pytest.raises(errors.AreaError):
        client.submit("detect-change", {**pair, "aoi": {"type": "Point", "coordinates": [0, 0]}})
    with pytest.raises(errors.ParameterError):
        client.submit("detect-change", {**pair, "seed": "x"})
    with pytest.raises(errors.NotFoundError, match="no job 'none'"):
        client.status("none")
    with pytest.raises(errors.NotFoundError, match="no job 'none'"):
        list(client.watch("none"))
    with pytest.raises(errors.ResultNotReadyError):
        client.download(backend.accept().id, tmp_path)


def test_a_job_that_failed_gives_its_reason(
    backend: Backend, client: Client, tmp_path: Path
) -> None:
    job = backend.accept()
    lease = backend.store.claim(job.id, "test", 60, 3)
    assert lease is not None
    backend.store.fail(lease, "No overlap.")
    assert [state["status"] for state in client.watch(job.id)] == ["failed"]
    with pytest.raises(errors.JobFailedError, match="No overlap"):
        client.download(job.id, tmp_path)


def test_watching_goes_on_when_the_stream_breaks(backend: Backend) -> None:
    job = backend.accept()

    class NoStreams(httpx.HTTPTransport):
        """A proxy that cuts every stream of events."""

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/events"):
                raise httpx.RemoteProtocolError("cut", request=request)
            return super().handle_request(request)

    timer = finish_soon(backend, job.id)
    with Client(backend.url, transport=NoStreams()) as client:
        states = [state["status"] for state in client.watch(job.id)]
    timer.join()
    assert (states[0], states[-1]) == ("accepted", "successful")


def test_a_download_that_breaks_leaves_nothing(backend: Backend, done: Job, tmp_path: Path) -> None:
    class Torn(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = super().handle_request(request)
            if "/files/" in request.url.path:
                raise httpx.ReadError("torn", request=request)
            return response

    with Client(backend.url, transport=Torn()) as client, pytest.raises(errors.ServiceError):
        client.download(done.id, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_absent_service_is_named_with_the_remedy() -> None:
    with (
        Client("http://127.0.0.1:9") as client,
        pytest.raises(errors.ServiceError, match=r"127\.0\.0\.1:9.*geoanomaly serve"),
    ):
        client.jobs()


def test_another_kind_of_server_is_recognised() -> None:
    answer = httpx.MockTransport(lambda _: httpx.Response(502, text="<html>bad gateway"))
    with (
        Client("http://127.0.0.1", transport=answer) as client,
        pytest.raises(errors.ServiceError, match="502"),
    ):
        client.jobs()
