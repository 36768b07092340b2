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
from geoanomaly.errors import SandboxError, SceneError, ServiceError
from geoanomaly.settings import Settings

TASKS = "geoanomaly.sandbox.tasks"
MAX_ANSWER = 16 * 2**20
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

    readable, writable: files and folders, all else is closed.
    """

    cpu: int
    seconds: float
    file_bytes: int = 0
    readable: Sequence[Path] = ()
    writable: Sequence[Path] = ()


@dataclass(frozen=True)
class Answer:
    """value: what the task returned; peak: bytes of memory at most; cpu: seconds."""

    value: Any
    peak: int
    cpu: float


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
        *,
        name: str,
        field: str,
        share: Share | None = None,
    ) -> Answer:
        """The answer of a task, or the error that it raised.

        name: of the raster in messages; field: of the request, for errors about it.
        """
        request = {
            "task": task,
            "arguments": arguments,
            "memory": self._memory,
            "cpu": limits.cpu,
            "seconds": limits.seconds,
            "file_bytes": limits.file_bytes,
            "readable": [*libraries(), *map(str, limits.readable)],
            "writable": ["/dev/null", *map(str, limits.writable)],
        }
        with self._line() as line:
            line.settimeout(limits.seconds + GRACE_SECONDS)
            line.sendall(json.dumps(request).encode() + b"\n")
            heard = _listen(line, share)
        return self._answer(heard, limits, name, field)

    def _line(self) -> socket.socket:
        """A connection to a new guardian."""
        ours, theirs = socket.socketpair()
        with self._lock, theirs:
            control = self._running()
            try:
                socket.send_fds(control, [b"+"], [theirs.fileno()])
            except OSError as error:
                ours.close()
                raise ServiceError(f"The sandbox for rasters is gone: {error}.") from error
        return ours

    def _running(self) -> socket.socket:
        """The control socket of a living template."""
        if self._template is not None and self._template.poll() is None:
            assert self._control is not None
            return self._control
        if self._control is not None:
            self._control.close()
        self._control, theirs = socket.socketpair()
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

    def _answer(self, heard: _Heard, limits: Limits, name: str, field: str) -> Answer:
        last, ended = heard.last, heard.ended
        if ended is None:
            if self._template is None or self._template.poll() is not None:
                raise ServiceError("The sandbox for rasters did not start; is the memory full?")
            text = f"{name} cannot be read: its reader came to no end."
            raise SandboxError(text, field=field, reason="time")
        if "done" in last:
            return Answer(last["done"], int(ended["peak"]), float(ended["cpu"]))
        if "refused" in last:
            raise _refusal(last["refused"])
        if "unknown" in last:
            raise errors.NotFoundError(str(last["unknown"]))
        if last.get("errno"):
            # The disk is full, a folder is closed: no fault of the file.
            raise OSError(last["errno"], str(last["failed"]))
        reason, why = self._why(last, ended, limits)
        raise SandboxError(f"{name} cannot be read: {why}", field=field, reason=reason)

    def _why(
        self, last: Mapping[str, Any], ended: Mapping[str, Any], limits: Limits
    ) -> tuple[str, str]:
        """The reason in a word, and in a sentence."""
        remedy = "Write it anew: `gdal_translate -of COG IN OUT.tif`."
        memory = f"more than {self._memory >> 20} MiB of memory (GEOANOMALY_SANDBOX_MIB)"
        if "failed" in last:
            return "damaged", f"{last['failed']}. {remedy}"
        code = int(ended["code"])
        if ended["late"]:
            return "time", f"it took more than {limits.seconds:g} s. {remedy}"
        if code == -signal.SIGXCPU:
            return "time", f"it took more than {limits.cpu} s of processor time. {remedy}"
        if code == -signal.SIGXFSZ:
            most = f"{limits.file_bytes:,} bytes"
            return "size", f"it would be written as more than {most}. {remedy}"
        if "memory" in last:
            return "memory", f"it needs {memory}. {remedy}"
        how = signal.Signals(-code).name if code < 0 else f"code {code}"
        return "broke off", (
            f"its reader broke off ({how}), as a damaged file makes it do, or one that needs "
            f"{memory}. {remedy}"
        )


def _listen(line: socket.socket, share: Share | None) -> _Heard:
    heard = _Heard()
    for text in _lines(line):
        said = json.loads(text)
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
    pending, seen = b"", 0
    with suppress(TimeoutError, ConnectionError):
        while part := line.recv(65536):
            seen += len(part)
            if seen > MAX_ANSWER:
                return
            *whole, pending = (pending + part).split(b"\n")
            yield from whole


def _refusal(said: Mapping[str, str]) -> errors.InputError:
    kind = getattr(errors, said["kind"], SceneError)
    if kind is SceneError:
        return SandboxError(said["text"], field=said["field"], reason="refused")
    found: errors.InputError = kind(said["text"], field=said["field"])
    return found


def _root(module: str) -> str:
    """The folder from which it is imported here, so that the template imports the same."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parents[module.count(".")])


def environment(drivers: Sequence[str]) -> dict[str, str]:
    """Of the template: nothing of ours, so that no secret is in it, and GDAL with few drivers."""
    return {
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        # What is left: to read, and to write what was read.
        "GDAL_SKIP": ",".join(sorted(_registered() - {*drivers, "GTiff", "COG", "MEM"})),
        "GDAL_CACHEMAX": "64",
        # No sidecar (.aux.xml, .ovr, .msk) is ever looked for.
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_PAM_ENABLED": "NO",
        # A file may name an address to fetch: such a request must end at a closed port.
        "GDAL_HTTP_PROXY": "127.0.0.1:9",
        "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
        "PROJ_NETWORK": "OFF",
    }


@lru_cache(maxsize=1)
def _registered() -> set[str]:
    """All drivers of rasterio's GDAL."""
    import rasterio

    with rasterio.Env() as env:
        return set(env.drivers())


@lru_cache(maxsize=1)
def libraries() -> tuple[str, ...]:
    """Folders of code and of its data (the grid files of PROJ), for imports on first use."""
    here = Path(__file__).parents[2]
    own = [str(here / name) for name in ("geoanomaly", "tiling")]
    shared = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/proc/self", "/proc/meminfo"]
    return (sys.prefix, sys.base_prefix, *own, *shared, "/dev/null", "/dev/urandom")


def sandbox(settings: Settings) -> Sandbox:
    """The one of this process for these settings."""
    return _shared(settings.raster_drivers, settings.sandbox_mib, os.getpid())


@lru_cache(maxsize=4)
def _shared(drivers: tuple[str, ...], mib: int, _: int) -> Sandbox:
    found = Sandbox(Settings(raster_drivers=drivers, sandbox_mib=mib))
    atexit.register(found.close)
    return found
