"""The service's side of the sandbox: a task goes in with its limits, JSON comes back.

A child that dies, hangs, or wants more than it may have is a `SceneError` that says
so; the service itself never runs GDAL on a file that it did not write.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from geoanomaly import errors
from geoanomaly.errors import (
    AreaError,
    CrossingAreaError,
    IncomparableError,
    InputError,
    ParameterError,
    SandboxError,
    SceneError,
    ServiceError,
)
from geoanomaly.sandbox.surroundings import environment, libraries
from geoanomaly.settings import Settings

TASKS = "geoanomaly.intake.sandboxed"
MAX_ANSWER = 16 * 2**20
START_SECONDS = 120.0
GRACE_SECONDS = 5.0
"""How long a guardian may take beyond the time of its child."""

# -I: nothing of the environment or of the current folder is imported.
START = (
    sys.executable,
    "-I",
    "-c",
    "import socket, sys; sys.path[:0] = sys.argv[3:]; "
    "from geoanomaly.sandbox.template import main; "
    "main(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))",
)


@dataclass(frozen=True)
class Limits:
    """cpu, seconds: processor and wall time; file_bytes: largest file that may be written.

    readable, writable: files and folders by their real paths, all else is closed.
    """

    cpu: int
    seconds: float
    file_bytes: int = 0
    readable: Sequence[Path] = ()
    writable: Sequence[Path] = ()


@dataclass(frozen=True)
class Subject:
    """What a call is about: its name in messages, the field of the request, and what to do."""

    name: str
    field: str
    error: type[InputError] = SceneError
    remedy: str = "Write it anew: `gdal_translate -of COG IN OUT.tif`."

    def refusal(self, text: str, reason: str) -> InputError:
        """reason: in a word, for metrics of rasters."""
        if self.error is SceneError:
            return SandboxError(text, field=self.field, reason=reason)
        return self.error(text, field=self.field)


@dataclass(frozen=True)
class Answer:
    """value: what the task returned; peak: bytes of memory at most; cpu: seconds."""

    value: Any
    peak: int
    cpu: float


@dataclass
class Tally:
    """What the sandboxes of this process did so far.

    broken: readers that died, hung or wanted too much; peak: bytes of the largest child.
    """

    calls: int = 0
    broken: int = 0
    peak: int = 0


tally = Tally()


@dataclass
class _Heard:
    """What came back from one call."""

    last: Mapping[str, Any] = field(default_factory=dict)
    ended: Mapping[str, Any] | None = None


Share = Callable[[float], None]
"""Told how much of a task is done, 0 to 1; may raise to stop it."""


class Sandbox:
    """Runs the tasks of a module, each in a child process of its own. Threads may share one."""

    def __init__(self, settings: Settings, tasks: str = TASKS) -> None:
        self._memory = settings.sandbox_mib * 2**20
        self._drivers, self._tasks = settings.raster_drivers, tasks
        self._lock = threading.Lock()
        self._template: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._ready = False

    def start(self) -> None:
        """Start what the first call would wait for."""
        with self._lock:
            self._running()

    def close(self) -> None:
        with self._lock:
            if self._control is not None:
                self._control.close()
            if self._template is not None:
                self._template.wait(GRACE_SECONDS)
            self._control = self._template = None

    def call(
        self,
        task: str,
        arguments: Mapping[str, Any],
        limits: Limits,
        subject: Subject,
        share: Share | None = None,
    ) -> Answer:
        """The answer of a task, or the error that it raised."""
        request = {
            "task": task,
            "arguments": arguments,
            "memory": self._memory,
            "cpu": limits.cpu,
            "seconds": limits.seconds,
            "file_bytes": limits.file_bytes,
            "libraries": libraries(),
            "readable": [str(path) for path in limits.readable],
            "writable": ["/dev/null", *map(str, limits.writable)],
        }
        with self._line() as line:
            line.settimeout(limits.seconds + GRACE_SECONDS)
            line.sendall(json.dumps(request).encode() + b"\n")
            heard = _listen(line, share)
        return self._answer(heard, limits, subject)

    def _line(self) -> socket.socket:
        """A connection to a new guardian."""
        ours, theirs = socket.socketpair()
        with self._lock, theirs:
            control = self._running()
            try:
                if not self._ready:
                    # The time of a call begins when its child can.
                    self._ready = bool(control.recv(1))
                socket.send_fds(control, [b"+"], [theirs.fileno()])
            except OSError as error:
                ours.close()
                raise ServiceError(f"The sandbox for rasters does not start: {error}.") from error
        return ours

    def _running(self) -> socket.socket:
        """The control socket of a living template."""
        if self._template is not None and self._template.poll() is None:
            assert self._control is not None
            return self._control
        if self._control is not None:
            self._control.close()
        self._ready = False
        self._control, theirs = socket.socketpair()
        self._control.settimeout(START_SECONDS)
        with theirs:
            self._template = subprocess.Popen(
                [*START, self._tasks, str(theirs.fileno()), _root(__name__), _root(self._tasks)],
                pass_fds=[theirs.fileno()],
                env=environment(self._drivers),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # GDAL's complaints about files that are refused anyway.
                stderr=subprocess.DEVNULL,
            )
        return self._control

    def _answer(self, heard: _Heard, limits: Limits, subject: Subject) -> Answer:
        last, ended = heard.last, heard.ended
        tally.calls += 1
        if ended is None:
            if self._template is None or self._template.poll() is not None:
                raise ServiceError("The sandbox for rasters did not start; is the memory full?")
            raise self._broken(subject, "time", "its reader came to no end.")
        tally.peak = max(tally.peak, int(ended["peak"]))
        if "done" in last:
            return Answer(last["done"], int(ended["peak"]), float(ended["cpu"]))
        if "refused" in last:
            raise _refusal(last["refused"], subject)
        if "unknown" in last:
            raise errors.NotFoundError(str(last["unknown"]))
        if last.get("errno"):
            # The disk is full, a folder is closed: no fault of the file.
            raise OSError(last["errno"], str(last["failed"]))
        raise self._broken(subject, *self._why(last, ended, limits))

    def _broken(self, subject: Subject, reason: str, why: str) -> InputError:
        tally.broken += 1
        text = f"{subject.name} cannot be read: {why} {subject.remedy}"
        return subject.refusal(text, reason)

    def _why(
        self, last: Mapping[str, Any], ended: Mapping[str, Any], limits: Limits
    ) -> tuple[str, str]:
        """The reason in a word, and in a sentence."""
        memory = f"more than {self._memory >> 20} MiB of memory (GEOANOMALY_SANDBOX_MIB)"
        if "failed" in last:
            return "damaged", f"{last['failed']}."
        code = int(ended["code"])
        if ended["late"]:
            return "time", f"it took more than {limits.seconds:g} s."
        if code == -signal.SIGXCPU:
            return "time", f"it took more than {limits.cpu} s of processor time."
        if code == -signal.SIGXFSZ:
            return "size", f"it would be written as more than {limits.file_bytes:,} bytes."
        if "memory" in last:
            return "memory", f"it needs {memory}."
        how = signal.Signals(-code).name if code < 0 else f"code {code}"
        return "broke off", (
            f"its reader broke off ({how}), as a damaged file makes it do, or one that needs "
            f"{memory}."
        )


def _listen(line: socket.socket, share: Share | None) -> _Heard:
    heard = _Heard()
    for text in _lines(line):
        try:
            said = dict(json.loads(text))
        except (ValueError, TypeError, RecursionError):
            return _Heard()  # a child that is not what it was
        if "ended" in said:
            heard.ended = said["ended"]
        elif "share" in said:
            if share is not None:
                share(float(said["share"]))
        else:
            heard.last = said
    return heard


def _lines(line: socket.socket) -> Iterator[bytes]:
    """What the other end writes; a silence beyond the timeout or a flood ends it."""
    pending: list[bytes] = []
    seen = 0
    with suppress(TimeoutError, ConnectionError):
        while part := line.recv(65536):
            seen += len(part)
            if seen > MAX_ANSWER:
                return
            first, *others = part.split(b"\n")
            pending.append(first)
            for each in others:
                yield b"".join(pending)
                pending = [each]


def _refusal(said: Mapping[str, str], subject: Subject) -> InputError:
    if said["kind"] == "SceneError":
        return SandboxError(said["text"], field=said["field"], reason="refused")
    kinds = {
        each.__name__: each
        for each in (AreaError, CrossingAreaError, IncomparableError, ParameterError)
    }
    return kinds.get(said["kind"], subject.error)(said["text"], field=said["field"])


def _root(module: str) -> str:
    """The folder from which it is imported here, so that the template imports the same."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parents[module.count(".")])


def sandbox(settings: Settings) -> Sandbox:
    """The one of this process for these settings."""
    return _shared(settings.raster_drivers, settings.sandbox_mib, os.getpid())


@lru_cache(maxsize=4)
def _shared(drivers: tuple[str, ...], mib: int, _: int) -> Sandbox:
    found = Sandbox(Settings(raster_drivers=drivers, sandbox_mib=mib))
    atexit.register(found.close)
    return found
