"""The backup that docs/operations.md describes, and what a restored service has."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import httpx

from geoanomaly.jobs import Verdict
from tests.web import backend as module
from tests.web.backend import Backend, running_backend, write_raster
from web.app import create_app

FOLDERS = ("jobs", "scenes", "models", "tenants")


def back_up(data: Path, to: Path) -> None:
    """As the guide says it: the database first, then the files that it speaks of."""
    to.mkdir()
    with sqlite3.connect(data / "geoanomaly.db") as live:
        live.execute("VACUUM INTO ?", (str(to / "geoanomaly.db"),))
    live.close()
    for name in FOLDERS:
        if (data / name).is_dir():
            shutil.copytree(data / name, to / name)


def seen(http: httpx.Client, job: str) -> list[bytes]:
    paths = [f"/jobs/{job}{end}" for end in ("/log", "/judgements", "/files/heatmap.tif")]
    texts = [http.get(path).content for path in (*paths, "/models")]
    listed = [each["jobID"] for each in http.get("/jobs").json()["jobs"]]
    scenes = [each["sha256"] for each in http.get("/scenes").json()["scenes"]]
    picture = f"/scenes/{http.get('/scenes').json()['scenes'][0]['id']}/thumbnail.png"
    return [*texts, repr(listed).encode(), repr(scenes).encode(), http.get(picture).content]


def test_a_restored_service_has_the_same_jobs(tmp_path: Path) -> None:
    with running_backend(tmp_path) as found:
        done = found.finished_pair()
        found.store.judge(done.id, 120, 120, Verdict.CONFIRMED, "a field")
        sent = write_raster(tmp_path / "up.tif", module.ground(5, bands=3)).read_bytes()
        assert found.http.post("/scenes", files={"file": ("a.tif", sent)}).status_code == 201
        waiting = found.accept()
        # While the service runs.
        back_up(found.settings.data_dir, tmp_path / "backup")
        before = seen(found.http, done.id)
        lost: Backend = found
        found.accept()
    data = lost.settings.data_dir
    shutil.rmtree(data)
    shutil.copytree(tmp_path / "backup", data)

    rung: list[str] = []
    app = create_app(lost.settings, check=module.fake_check)
    store = app.state.service.store
    with module.serving(app) as url, httpx.Client(base_url=url, timeout=30) as http:
        assert seen(http, done.id) == before
        rung += store.sweep(-1, 30)
    assert rung == [waiting.id], "what waited goes on; what came after the backup is gone"
