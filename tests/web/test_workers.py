"""Two web processes on one port: what one has taken in, signed in or made, the other one knows."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from geoanomaly.access.keys import Role
from geoanomaly.access.store import KeyStore
from geoanomaly.jobs import JobStore
from geoanomaly.settings import Settings
from geoanomaly.types import Job, JobSpec, Process, Progress, Scene
from tests.services import processes, wait_for
from tests.web.backend import ground, publish_outputs, write_raster

TIMES = 12
"""Requests, each on a connection of its own: the odds that one process gets them all are 1:2048."""

pytestmark = [pytest.mark.service, pytest.mark.enable_socket]


@dataclass(frozen=True)
class Web:
    url: str
    settings: Settings
    store: JobStore
    token: str

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, follow_redirects=False)

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Asked on a new connection, which any of the processes may take."""
        with self.client() as http:
            return http.get(path, headers=headers or {"Authorization": f"Bearer {self.token}"})


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = Settings(data_dir=tmp_path_factory.mktemp("web"), access=True)
    options = ("--factory", "--workers=2", f"--port={port}", "--log-level=info")
    with processes(settings) as running:
        store = JobStore(settings.database)
        token = KeyStore(store.database).create("alice", Role.SUBMIT).token
        running.start("uvicorn", "web.app:create_app", *options)
        started = "Application startup complete"
        wait_for(lambda: running.log("uvicorn").count(started) == 2, "two web processes", 60)
        yield Web(f"http://127.0.0.1:{port}", settings, store.on_behalf_of("alice"), token)
        store.close()


def running_job(web: Web) -> Job:
    scene = write_raster(web.settings.scenes_dir / "a.tif", ground(1))
    return web.store.create(JobSpec(Process.DETECT_ANOMALY, (Scene(str(scene)),)))


def test_a_scene_is_known_to_both(web: Web, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "up.tif", ground(2))
    with web.client() as http:
        headers = {"Authorization": f"Bearer {web.token}"}
        sent = http.post("/scenes", files={"file": ("up.tif", path.read_bytes())}, headers=headers)
    assert sent.status_code == 201, sent.text
    address = f"/scenes/{sent.json()['id']}/thumbnail.png"
    answers = [web.get(address) for _ in range(TIMES)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["etag"] for answer in answers}) == 1
    assert len({answer.content for answer in answers}) == 1


def test_who_signed_in_at_one_is_known_to_both(web: Web) -> None:
    with web.client() as http:
        signed = http.post("/sign-in", data={"key": web.token})
        cookie = f"geoanomaly_session={signed.cookies['geoanomaly_session']}"
    for _ in range(TIMES):
        assert web.get("/ui", Cookie=cookie).status_code == 200
    with web.client() as http:
        http.post("/sign-out", headers={"Cookie": cookie, "Origin": web.url})
    for _ in range(TIMES):
        assert web.get("/ui", Cookie=cookie).status_code != 200


def test_events_come_from_either_and_results_are_alike(web: Web) -> None:
    job = running_job(web)
    lease = web.store.claim(job.id, "worker", 60, 3)
    assert lease is not None
    web.store.report(lease, Progress("scoring", 40.0))
    for _ in range(TIMES):
        assert web.get(f"/jobs/{job.id}").json()["progress"] == 40
    folder = web.settings.jobs_dir / job.id
    folder.mkdir(parents=True)
    web.store.succeed(lease, publish_outputs(folder))
    told = {web.get(f"/jobs/{job.id}/events").text for _ in range(TIMES)}
    assert len(told) == 1
    assert '"status": "successful"' in told.pop()
    tables = {web.get(f"/jobs/{job.id}/anomalies?surprise=3").text for _ in range(TIMES)}
    assert len(tables) == 1
    assert len(json.loads(tables.pop())["features"]) == 1


def test_an_export_that_one_has_made_the_other_hands_out(web: Web) -> None:
    job = running_job(web)
    lease = web.store.claim(job.id, "worker", 60, 3)
    assert lease is not None
    folder = web.settings.jobs_dir / job.id
    folder.mkdir(parents=True)
    web.store.succeed(lease, publish_outputs(folder))
    address = f"/jobs/{job.id}/exports/anomalies.gpkg"
    assert "event: done" in web.get(f"{address}/progress").text
    # A GeoPackage has its time of writing in it: made twice it would not be the same.
    assert len({web.get(address).content for _ in range(TIMES)}) == 1
