"""A service that asks for keys, from the first key to the result: and no trace of the key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from geoanomaly import errors
from geoanomaly.access.exposure import exposed, is_loopback
from geoanomaly.access.store import KeyStore
from geoanomaly.cli import main
from geoanomaly.client import Client
from geoanomaly.errors import ServiceError
from geoanomaly.jobs import JobStore
from geoanomaly.service import Service
from geoanomaly.settings import Settings
from tests.rasters import texture, write_raster
from tests.services import ROOT

COMMAND = (sys.executable, "-c", "from geoanomaly.cli import main; main()")


def command(settings: Settings, *words: object, **variables: str) -> Any:
    """The command line in a process of its own."""
    environment = {**os.environ, "GEOANOMALY_DATA_DIR": str(settings.data_dir), **variables}
    arguments = [*COMMAND, *map(str, words)]
    return subprocess.run(arguments, capture_output=True, text=True, env=environment, cwd=ROOT)


def command_lines() -> Iterator[str]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            yield " ".join(process.cmdline())


def jobs_of(url: str, key: str) -> Any:
    with Client(url, key=key) as client:
        return client.jobs()


@pytest.mark.service
def test_a_job_by_key_and_no_trace_of_it(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path / "data", access=True, log_format="json", threads=1, sweep_seconds=1
    )
    made = command(settings, "keys", "create", "alice", "--note", "laptop")
    token = made.stdout.strip()
    assert "cannot be shown again" in made.stderr
    assert token not in made.stderr
    scene = write_raster(tmp_path / "scene.tif", texture(1, 3, 96, 96).astype("uint16"))
    seen: list[str] = []
    with Service(settings, "127.0.0.1", 0) as running:
        with pytest.raises(errors.UnauthorizedError, match="needs an API key"):
            jobs_of(running.url, "")
        arguments = [*COMMAND, "submit", str(scene), "--detector", "rx", "--wait"]
        with subprocess.Popen(
            arguments, text=True, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "GEOANOMALY_URL": running.url, "GEOANOMALY_API_KEY": token},
        ) as submitting:  # fmt: skip
            while submitting.poll() is None:
                seen.append(" ".join(command_lines()))
                time.sleep(0.5)
            out, err = submitting.communicate()
        assert submitting.returncode == 0, err
        assert any("--detector rx" in text for text in seen), "the list of processes was seen"
        job = out.split()[0]
        with Client(running.url, key=token) as client:
            seen.append(json.dumps(client.status(job)))
            client.download(job, tmp_path / "out")
            # Wherever a careless program may put it.
            httpx.get(f"{running.url}/jobs/{token}?key={token}", headers={"X-Key": token})
            httpx.get(f"{running.url}/{token}", headers={"Authorization": f"Bearer {token}"})
        with pytest.raises(errors.UnauthorizedError, match="not valid"):
            jobs_of(running.url, token[:-2])
        store = JobStore(settings.database)
        KeyStore(store.database).revoke(token.split("_")[1])
        store.close()
        with pytest.raises(errors.UnauthorizedError, match="revoked"):
            jobs_of(running.url, token)
    assert (tmp_path / "out" / "heatmap.tif").is_file()
    secret = token.split("_", 2)[2]
    files = [path for path in settings.data_dir.rglob("*") if path.is_file()]
    assert {"web.log", "worker.log", "geoanomaly.db"} <= {path.name for path in files}
    for path in files:
        assert secret.encode() not in path.read_bytes(), path
    for text in (*seen, out, err):
        assert secret not in text
    worker = (settings.data_dir / "logs" / "worker.log").read_text().splitlines()
    lines = [json.loads(line) for line in worker if line.startswith("{")]
    assert any(line.get("job") == job for line in lines)
    assert {"time", "level", "logger", "message"} <= set(lines[0])
    web = (settings.data_dir / "logs" / "web.log").read_text().splitlines()
    assert [line for line in web if not line.startswith("{")] == []


def test_a_service_that_others_reach_needs_a_key(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    refused = command(settings, "serve", "--host", "0.0.0.0", "--port", "0")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "`geoanomaly keys create OWNER --role submit`" in refused.stderr
    assert not list((tmp_path / "data").glob("logs/*")), "nothing was started"


def test_keys_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["geoanomaly", "keys", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    folder = ("--data-dir", str(tmp_path))
    _, token, _ = call("create", "alice", "--role", "read", "--note", "QGIS", *folder)
    assert token.startswith("ga_")
    key_id = token.split("_")[1]
    assert call("create", "Alice!", *folder)[0] == 2
    code, text, _ = call("list", *folder)
    assert (code, text.split()[:3], text.split()[-2:]) == (
        0,
        [key_id, "alice", "read"],
        ["good", "QGIS"],
    )
    assert call("revoke", key_id, *folder)[0] == 0
    assert " revoked " in call("list", *folder)[1]
    assert call("revoke", "nothing", *folder)[0] == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "a.localhost"])
def test_nobody_else_reaches_loopback(host: str) -> None:
    assert is_loopback(host)
    assert exposed(Settings(), host).access is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.org", "localhost.test"])
def test_everywhere_else_keys_are_needed(host: str) -> None:
    assert exposed(Settings(), host).access is True
    with pytest.raises(ServiceError, match="GEOANOMALY_ACCESS is off"):
        exposed(Settings(access=False), host)


def test_no_root_may_hold_the_uploads(tmp_path: Path) -> None:
    for data, root in ((tmp_path / "a" / "data", tmp_path / "a"), (tmp_path, tmp_path / "scenes")):
        settings = Settings(data_dir=data, scene_roots=(root,), access=True)
        with pytest.raises(ServiceError, match="read each other's uploads"):
            exposed(settings, "127.0.0.1")
