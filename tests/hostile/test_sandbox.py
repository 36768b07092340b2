"""What a child of the sandbox can do (its task) and cannot (all else), and what becomes of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from geoanomaly.errors import JobCancelledError, SceneError
from geoanomaly.sandbox import guards
from geoanomaly.sandbox.supervisor import Limits, Sandbox, Subject
from geoanomaly.settings import Settings
from tests.hostile import attempts
from tests.services import wait_for

linux = pytest.mark.skipif(bool(guards.missing()), reason=f"no {' and no '.join(guards.missing())}")
PLENTY = Limits(cpu=10, seconds=20)


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    found = Sandbox(Settings(sandbox_mib=256), "tests.hostile.attempts")
    yield found
    found.close()


def attempt(box: Sandbox, task: str, limits: Limits = PLENTY, **arguments: Any) -> Any:
    return box.call(task, arguments, limits, Subject("a.tif", "file")).value


def refusal(box: Sandbox, task: str, limits: Limits = PLENTY, **arguments: Any) -> str:
    with pytest.raises(SceneError) as caught:
        attempt(box, task, limits, **arguments)
    assert caught.value.field == "file"
    return str(caught.value)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.txt"
    path.write_text("planted")
    return path


@linux
def test_no_file_but_those_of_the_task(box: Sandbox, secret: Path, tmp_path: Path) -> None:
    shown = Limits(cpu=5, seconds=10, readable=[secret])
    assert attempt(box, "read", shown, path=str(secret)) == "planted"
    for hidden in (secret, Path("/etc/passwd"), Path(f"/proc/{os.getpid()}/environ")):
        with pytest.raises(OSError, match="Permission"):
            attempt(box, "read", path=str(hidden))
    with pytest.raises(OSError, match="Permission"):
        attempt(box, "write", shown, path=str(secret))
    assert attempts.read({"path": str(secret)}, None) == "planted", "the guard's work, not chance"
    own = Limits(cpu=5, seconds=10, file_bytes=100, writable=[tmp_path])
    attempt(box, "write", own, path=str(tmp_path / "new"))
    assert (tmp_path / "new").read_bytes() == b"x"


@linux
def test_a_link_in_the_place_of_a_checked_file_opens_nothing(
    box: Sandbox, secret: Path, tmp_path: Path
) -> None:
    link = tmp_path / "scene.tif"
    link.symlink_to(secret)
    assert "broke off" in refusal(box, "read", Limits(5, 10, readable=[link]), path=str(link))
    (tmp_path / "folder").symlink_to(tmp_path)
    below = tmp_path / "folder" / secret.name
    assert "broke off" in refusal(box, "read", Limits(5, 10, readable=[below]), path=str(below))


@linux
def test_no_network(box: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        with pytest.raises(OSError, match="not permitted"):
            attempt(box, "connect", host=host, port=port)
        assert attempts.connect({"host": host, "port": port}, None) == "connected"


@linux
def test_no_program_and_no_signal(box: Sandbox) -> None:
    with pytest.raises(OSError, match="not permitted"):
        attempt(box, "run")
    with pytest.raises(OSError, match="not permitted"):
        attempt(box, "kill", pid=os.getpid())
    assert attempts.run({}, None) == "1\n"


def test_no_secret_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOANOMALY_DATABASE_URL", "postgresql://me:planted@host/db")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    box = Sandbox(Settings(), "tests.hostile.attempts")
    seen = attempt(box, "variables")
    box.close()
    assert "planted" not in str(seen)
    assert not [name for name in seen if name.startswith(("AWS", "GEOANOMALY", "PYTHONPATH"))]


def test_threads_are_allowed(box: Sandbox) -> None:
    """GDAL compresses with them."""
    assert attempt(box, "thread") == 1


def test_who_hangs_or_spins_is_stopped(box: Sandbox) -> None:
    begin = time.monotonic()
    assert "more than 0.3 s" in refusal(box, "hang", Limits(cpu=5, seconds=0.3))
    assert time.monotonic() - begin < 3
    assert "1 s of processor time" in refusal(box, "spin", Limits(cpu=1, seconds=20))


@linux
def test_who_wants_too_much_is_stopped(box: Sandbox, tmp_path: Path) -> None:
    assert attempt(box, "fill", bytes=100 * 2**20) == 100 * 2**20
    assert "256 MiB of memory (GEOANOMALY_SANDBOX_MIB)" in refusal(box, "fill", bytes=400 * 2**20)
    small = Limits(cpu=5, seconds=10, file_bytes=1000, writable=[tmp_path])
    with pytest.raises((SceneError, OSError), match=r"1,000 bytes|too large"):
        attempt(box, "write", small, path=str(tmp_path / "big"), bytes=5000)
    assert "came to no end" in refusal(box, "flood")


def test_who_dies_takes_nobody_along(box: Sandbox) -> None:
    before = attempt(box, "process")
    for task in ("crash", "vanish"):
        assert "its reader broke off" in refusal(box, task)
    assert attempt(box, "process") != before


def test_a_template_that_was_killed_is_started_again(box: Sandbox) -> None:
    attempt(box, "thread")
    mine = psutil.Process().children()
    (template,) = [each for each in mine if "tests.hostile.attempts" in each.cmdline()]
    template.kill()
    wait_for(lambda: template.status() == psutil.STATUS_ZOMBIE, "its end")
    assert attempt(box, "thread") == 1


def test_who_is_called_off_stops(box: Sandbox) -> None:
    mine = psutil.Process()
    attempt(box, "thread")
    before = len(mine.children(recursive=True))

    def stop(_: float) -> None:
        raise JobCancelledError

    with pytest.raises(JobCancelledError):
        box.call("slowly", {}, PLENTY, Subject("a.tif", "file"), stop)
    wait_for(lambda: len(mine.children(recursive=True)) == before, "the child's end", 5)


def test_nothing_outlives_a_service_that_is_killed() -> None:
    code = """
import sys
from geoanomaly.sandbox.supervisor import Limits, Sandbox, Subject
from geoanomaly.settings import Settings
box = Sandbox(Settings(), "tests.hostile.attempts")
tell = lambda _: print(1, flush=True)
box.call("slowly", {}, Limits(cpu=9, seconds=60), Subject("", ""), tell)
"""
    service = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert service.stdout is not None
    service.stdout.readline()
    family = psutil.Process(service.pid).children(recursive=True)
    assert len(family) == 3, "template, guardian and child"
    service.kill()
    service.wait()
    service.stdout.close()
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
