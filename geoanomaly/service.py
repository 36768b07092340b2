"""The whole service as one command: broker, worker and web server as children of this process.

The children are run by the names of their modules: this package imports neither
`tasks` nor `web`. Each one gets SIGTERM when this process ends, however it ends
(`geoanomaly.lifeline`).
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from geoanomaly.errors import ServiceError
from geoanomaly.settings import Settings

START_SECONDS = 60.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.1
# A part that dies more often is broken, and starting it again would only fill its log.
MAX_RESTARTS = 5
# Deaths further apart have nothing to do with each other: the count begins anew.
STEADY_SECONDS = 60.0
LOG_TAIL_LINES = 15
LIFELINE = (sys.executable, "-m", "geoanomaly.lifeline")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """A child to run: a word for messages, its module, and the arguments of that."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()


def parts(settings: Settings, host: str, port: int, workers: int) -> tuple[Part, ...]:
    """In the order of starting; the reverse is the order of stopping."""
    web = ("web.app:create_app", "--factory", f"--host={host}", f"--port={port}")
    # Event streams and tiles under way would hold up the end for ever.
    quiet = ("--no-access-log", "--timeout-graceful-shutdown=2")
    broker = () if settings.broker_url else (Part("broker", "tasks.broker"),)
    return (
        *broker,
        Part("worker", "tasks.worker", (f"--concurrency={workers}",)),
        Part("web", "uvicorn", (*web, *quiet)),
    )


def environment(settings: Settings) -> dict[str, str]:
    """The environment from which a child's `Settings()` equals `settings`."""
    names = {f"GEOANOMALY_{field}".upper() for field in Settings.model_fields}
    kept = {name: value for name, value in os.environ.items() if name.upper() not in names}
    checkout = Path(__file__).parents[1]
    if (checkout / "pyproject.toml").exists():
        # A source tree that is not installed: the children see the same one.
        path = [str(checkout), *filter(None, [kept.get("PYTHONPATH")])]
        kept["PYTHONPATH"] = os.pathsep.join(path)
    # Our package names are generic: a folder `tasks` or `web` where the user stands is not ours.
    kept["PYTHONSAFEPATH"] = "1"
    return {**kept, **_variables(settings)}


def _variables(settings: Settings) -> dict[str, str]:
    values = settings.model_dump(mode="json", exclude_none=True)
    values["data_dir"] = str(settings.data_dir.resolve())
    # Lists as JSON, which is how pydantic-settings reads them back.
    return {
        f"GEOANOMALY_{field}".upper(): value if isinstance(value, str) else json.dumps(value)
        for field, value in values.items()
    }


class Child:
    """A part that runs: its process, its log, and how often it was started again."""

    def __init__(self, part: Part, settings: Settings) -> None:
        self.part, self._settings = part, settings
        self.log = settings.data_dir / "logs" / f"{part.name}.log"
        self.restarts = 0
        self.start()

    def start(self) -> None:
        self.started = time.monotonic()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._log_start = output.tell()
            self.process = subprocess.Popen(
                [*LIFELINE, self.part.module, *self.part.arguments],
                stdin=subprocess.PIPE,  # The lifeline: nothing is ever written to it.
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(self._settings),
                # A group of its own: Ctrl-C reaches only us, and we stop them in order.
                start_new_session=True,
            )

    @property
    def code(self) -> int | None:
        """None while it runs."""
        return self.process.poll()

    def end(self) -> str:
        """How it ended, in the words of its log."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode(errors="replace").splitlines()
        tail = "\n".join(lines[-LOG_TAIL_LINES:]) or "(it wrote nothing)"
        return f"The {self.part.name} ended with code {self.code}. From {self.log}:\n{tail}"

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            log.warning("The %s did not stop in %g s: killed", self.part.name, STOP_SECONDS)
        self.clear(signal.SIGKILL)
        self.process.wait()

    def clear(self, number: signal.Signals) -> None:
        """End what a stopped process may have left in its group, and drop the lifeline."""
        # EPERM is macOS for a group of zombies.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)
        if self.process.stdin is not None:
            self.process.stdin.close()


class Service:
    """Runs from `with` to the end of its block. port 0: a free one. workers: jobs at a time."""

    def __init__(self, settings: Settings, host: str, port: int, workers: int = 1) -> None:
        self._settings, self._host, self._workers = settings, host, workers
        self._port = free_port(host, port)
        self._children: list[Child] = []
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._failure: str | None = None
        self._watcher = threading.Thread(target=self._watch, name="service", daemon=True)

    @property
    def url(self) -> str:
        host = _reachable(self._host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}"

    def __enter__(self) -> Self:
        self._restore_sigterm = _sigterm_as_ctrl_c()
        try:
            for part in parts(self._settings, self._host, self._port, self._workers):
                self._children.append(Child(part, self._settings))
            self._wait_until_healthy()
        except BaseException:
            self._stop()
            raise
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._watcher.join()
        self._stop()

    def wait(self) -> None:
        """Until Ctrl-C or SIGTERM; ServiceError when a part keeps dying."""
        with suppress(KeyboardInterrupt):
            while not self._ended.wait(1.0):
                pass
        if self._failure is not None:
            raise ServiceError(self._failure)

    def _stop(self) -> None:
        while self._children:
            self._children.pop().stop()
        self._restore_sigterm()

    def _wait_until_healthy(self) -> None:
        give_up = time.monotonic() + START_SECONDS
        while not _healthy(_reachable(self._host), self._port):
            for child in self._children:
                if child.code is not None:
                    raise ServiceError(f"The service did not start. {child.end()}")
            if time.monotonic() > give_up:
                raise ServiceError(
                    f"{self.url}/healthz did not answer within {START_SECONDS:g} s. "
                    f"The logs are in {self._settings.data_dir / 'logs'}."
                )
            time.sleep(POLL_SECONDS)

    def _watch(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            for child in self._children:
                if child.code is not None and not self._revive(child):
                    self._failure = f"Started {MAX_RESTARTS} times again in vain. {child.end()}"
                    self._ended.set()
                    return

    def _revive(self, child: Child) -> bool:
        if time.monotonic() - child.started > STEADY_SECONDS:
            child.restarts = 0
        if child.restarts >= MAX_RESTARTS:
            return False
        child.restarts += 1
        log.warning("%s Starting it again (%d of %d).", child.end(), child.restarts, MAX_RESTARTS)
        # Each time later, for a cause that goes away by itself.
        self._stopping.wait(0.5 * (child.restarts - 1))
        child.clear(signal.SIGTERM)
        child.start()
        return True


def free_port(host: str, port: int) -> int:
    """The port itself, or for 0 a free one; a taken one is an error before anything starts."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServiceError(
                f"Cannot listen on {host} port {port}: {error.strerror}. "
                "Choose another with --port (0 takes a free one), or stop what uses it."
            ) from error
        return int(probe.getsockname()[1])


def _reachable(host: str) -> str:
    """An address to call for one to listen on."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _healthy(host: str, port: int) -> bool:
    # Not urllib: a proxy of the environment is no way to this machine.
    link = http.client.HTTPConnection(host, port, timeout=2)
    try:
        link.request("GET", "/healthz")
        return link.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        link.close()


def _sigterm_as_ctrl_c() -> Callable[[], None]:
    """`docker stop` and systemd end a service with SIGTERM. The answer undoes it."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    before = signal.signal(signal.SIGTERM, _interrupt)

    def restore() -> None:
        signal.signal(signal.SIGTERM, before)

    return restore


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt
