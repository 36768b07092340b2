"""The embedded broker, and the doorbell when there is none."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from geoanomaly.errors import ServiceError
from geoanomaly.settings import Settings
from tasks.broker import ping, wait_until_ready
from tasks.queue import broker_url, ring, socket_path, waiting
from tests.services import ROOT, processes, wait_for


def test_address_is_short_and_stable(tmp_path: Path) -> None:
    deep = Settings(data_dir=tmp_path / ("long/" * 40))
    assert len(str(socket_path(deep))) < 100
    assert broker_url(deep) == f"redis+socket://{socket_path(deep)}"
    assert socket_path(deep) != socket_path(Settings(data_dir=tmp_path))
    assert broker_url(Settings(data_dir=tmp_path, broker_url="redis://h/1")) == "redis://h/1"


def test_ring_imports_nothing_heavy() -> None:
    code = "import sys, tasks.queue; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).split()
    assert not {"torch", "rasterio", "dask", "tasks.app", "tasks.run"} & set(loaded)


def test_ring_gives_up_soon_without_a_broker(tmp_path: Path) -> None:
    embedded = Settings(data_dir=tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        silent = Settings(data_dir=tmp_path, broker_url=f"redis://127.0.0.1:{port}/0")
        for settings in (embedded, silent):
            began = time.monotonic()
            assert ring("job", settings) is False
            assert time.monotonic() - began < 4
    assert waiting(embedded) is None
    with pytest.raises(ServiceError, match="GEOANOMALY_BROKER_URL"):
        wait_until_ready(embedded, seconds=0.1)


@pytest.mark.service
def test_rings_survive_a_kill(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    with processes(settings) as running:
        broker = running.start("tasks.broker")
        wait_until_ready(settings)
        assert [ring("job", settings), ring("job", settings)] == [True, True]
        time.sleep(1.2)  # appendfsync everysec
        os.killpg(broker.pid, signal.SIGKILL)
        wait_for(lambda: not ping(socket_path(settings)), "its end")
        running.start("tasks.broker")
        wait_until_ready(settings)
        assert ring("job", settings) is True, "although the pooled connection is dead"
        assert waiting(settings) == 3


@pytest.mark.service
def test_one_owner_at_a_time(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    path = socket_path(settings)
    with processes(settings) as running:
        owner = running.start("tasks.broker")
        wait_until_ready(settings)
        guest = running.start("tasks.broker")
        wait_for(lambda: "attached to it" in running.log("tasks.broker"), "the guest")
        owner.kill()  # The server lives on without it ...
        owner.wait()
        wait_for(lambda: "taken over" in running.log("tasks.broker"), "the guest to take over")
        assert ping(path)
        guest.terminate()  # ... and ends with its heir.
        assert guest.wait(10) == 0
        assert not ping(path)
        assert not path.parent.exists()


@pytest.mark.service
def test_folder_open_to_others_is_refused(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    folder = socket_path(settings).parent
    folder.mkdir()
    folder.chmod(0o777)
    with processes(settings) as running:
        assert running.start("tasks.broker").wait(20) == 1
        assert "wanted 700" in running.log("tasks.broker")
