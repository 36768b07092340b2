"""`geoanomaly.service`: real children, and nothing of them left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from geoanomaly import service
from geoanomaly.errors import ServiceError
from geoanomaly.service import Part, Service
from geoanomaly.settings import Settings
from tasks.broker import ping
from tasks.queue import socket_path
from tests.services import ROOT, mentioning, wait_for


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    settings = Settings(data_dir=tmp_path / "data", sweep_seconds=0.3)
    yield settings
    assert mentioning(str(tmp_path)) == []
    assert not ping(socket_path(settings))
    shutil.rmtree(socket_path(settings).parent, ignore_errors=True)


def test_children_read_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOANOMALY_BROKER_URL", "redis://elsewhere")
    monkeypatch.setenv("PYTHONPATH", "/mine")
    roots = (tmp_path / "a b", tmp_path / "c")
    settings = Settings(data_dir=tmp_path, scene_roots=roots, broker_url=None, threads=3)
    environment = service.environment(settings)
    assert "GEOANOMALY_BROKER_URL" not in environment
    assert environment["PYTHONPATH"].endswith("/mine")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("GEOANOMALY_BROKER_URL")
    assert Settings() == settings


def test_a_taken_port_is_said_before_anything_starts(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=rf"port {port}: Address already in use.*--port"):
            Service(settings, "127.0.0.1", port)
    assert not settings.data_dir.exists()


def test_an_own_broker_means_none_of_ours() -> None:
    names = [p.name for p in service.parts(Settings(broker_url="redis://x"), "h", 1, 1)]
    assert names == ["worker", "web"]


@pytest.mark.service
def test_start_restart_and_stop(settings: Settings) -> None:
    with Service(settings, "127.0.0.1", 0) as running:
        with urllib.request.urlopen(f"{running.url}/healthz") as answer:
            assert answer.status == 200
        worker = running._children[1].process.pid
        os.killpg(worker, signal.SIGKILL)
        wait_for(lambda: running._children[1].process.pid != worker, "a new worker")
        broker = running._children[0].process.pid
        os.kill(broker, signal.SIGKILL)
        wait_for(lambda: running._children[0].process.pid != broker, "a new broker")
        wait_for(lambda: running._children[0].log.read_text().count("runs on") == 2, "its server")
        wait_for(lambda: "ready." in (running._children[1].log.read_text()), "the worker")
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert mentioning(str(settings.data_dir)) == []
    assert not socket_path(settings).parent.exists()


@pytest.mark.service
def test_nothing_survives_a_killed_supervisor(settings: Settings) -> None:
    supervisor = _supervisor(settings)
    assert len(mentioning(str(settings.data_dir))) >= 5, "supervisor, broker, valkey, worker, web"
    supervisor.kill()
    supervisor.wait()
    wait_for(lambda: mentioning(str(settings.data_dir)) == [], "every child to end", 15)
    assert not ping(socket_path(settings))


@pytest.mark.service
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_wait_ends_cleanly_on(settings: Settings, number: signal.Signals) -> None:
    supervisor = _supervisor(settings, ONLY_BROKER)
    supervisor.send_signal(number)
    assert supervisor.wait(15) == 0


SUPERVISOR = """
import json, sys
from contextlib import suppress
from pathlib import Path
from geoanomaly.service import Service
from geoanomaly.settings import Settings
whole = Service(Settings(**json.loads(sys.argv[1])), "127.0.0.1", 0)
with suppress(KeyboardInterrupt), whole as running:
    print(running.url, flush=True)
    running.wait()
"""


ONLY_BROKER = """
from geoanomaly import service
service.parts = lambda *_: (service.Part("broker", "tasks.broker"),)
service._healthy = lambda *_: True
"""


def _supervisor(settings: Settings, prepare: str = "") -> subprocess.Popen[str]:
    values = json.dumps(settings.model_dump(mode="json"))
    process = subprocess.Popen(
        [sys.executable, "-c", prepare + SUPERVISOR, values],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    with process.stdout as lines:
        assert lines.readline().startswith("http://127.0.0.1:")
    return process


@pytest.mark.service
def test_a_part_that_dies_at_the_start_is_quoted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Part("web", "uvicorn", ("no.such.module:app", "--factory"))
    monkeypatch.setattr(service, "parts", lambda *_: (broken,))
    with pytest.raises(ServiceError, match=r"The web ended with code 1\.(?s:.*)no") as caught:
        Service(settings, "127.0.0.1", 0).__enter__()
    assert str(settings.data_dir / "logs" / "web.log") in str(caught.value)


@pytest.mark.service
def test_a_part_that_keeps_dying_ends_the_service(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "parts", lambda *_: (Part("worker", "this"),))
    monkeypatch.setattr(service, "_healthy", lambda *_: True)
    monkeypatch.setattr(service, "MAX_RESTARTS", 1)
    running = Service(settings, "127.0.0.1", 0)
    with running, pytest.raises(ServiceError, match="1 times again in vain"):
        running.wait()
