"""The process of which every child is a copy: it has imported what the tasks need, and only forks.

A call arrives as a socket over the control socket. A guardian is forked for it, which
forks the child, watches its time, and says at the end how it went. The template ends
when the service does: its control socket closes.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, NoReturn

from geoanomaly.errors import InputError, NotFoundError
from geoanomaly.sandbox import guards

MAX_REQUEST = 64 * 2**20
READY = b"+"
SHORTEST, LONGEST = 0.001, 0.02
"""Seconds between two looks at a child."""

Tell = Callable[[float], None]
Task = Callable[[dict[str, Any], Tell], Any]


def main(module: str, control: socket.socket) -> None:
    """Serve calls of the functions of `module` until the other end closes."""
    tasks = import_module(module)
    # Guardians are nobody's business: the kernel takes them away.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # Ctrl-C in a terminal is the service's to hear.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # or the first collection of each child would copy all pages
    control.send(READY)
    while True:
        word, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not word:
            return
        line = socket.socket(fileno=descriptors[0])
        if os.fork() == 0:
            control.close()
            _guard(line, tasks)
        line.close()


def _guard(line: socket.socket, tasks: Any) -> NoReturn:
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        request = _receive(line)
        child = os.fork()
        if child == 0:
            _be_child(line.fileno(), request, getattr(tasks, request["task"]))
        # The child's last words, if it wrote some, are in the socket already.
        ending = json.dumps({"ended": _watch(child, line, request["seconds"])})
        line.sendall(ending.encode() + b"\n")
    finally:
        os._exit(0)


def _receive(line: socket.socket) -> dict[str, Any]:
    found = b""
    while not found.endswith(b"\n"):
        part = line.recv(65536)
        if not part or len(found) > MAX_REQUEST:
            os._exit(1)
        found += part
    request: dict[str, Any] = json.loads(found)
    return request


def _watch(child: int, line: socket.socket, seconds: float) -> dict[str, Any]:
    """Wait for its end, and bring it about when the time is up or nobody listens any more."""
    give_up = time.monotonic() + seconds
    late, pause = False, SHORTEST
    while True:
        pid, status, used = os.wait4(child, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            cpu = used.ru_utime + used.ru_stime
            unit = 1 if sys.platform == "darwin" else 1024
            return {"code": code, "late": late, "peak": used.ru_maxrss * unit, "cpu": cpu}
        late = late or time.monotonic() > give_up
        # Nothing more is ever sent to us: readable means closed.
        if late or select.select([line], [], [], pause)[0]:
            os.kill(child, signal.SIGKILL)
        pause = min(2 * pause, LONGEST)


def _be_child(line: int, request: dict[str, Any], task: Task) -> NoReturn:
    try:
        guards.die_with_parent()
        guards.limit(request["memory"], request["cpu"], request["file_bytes"])
        guards.confine(request["libraries"], request["readable"], request["writable"])
        _say(line, _answer(task, request["arguments"], lambda share: _say(line, {"share": share})))
    finally:
        # Not sys.exit: nothing of the template's is to be tidied up here.
        os._exit(0)


def _answer(task: Task, arguments: dict[str, Any], tell: Tell) -> dict[str, Any]:
    try:
        return {"done": task(arguments, tell)}
    except InputError as error:
        kind, text, field = type(error).__name__, str(error), error.field
        return {"refused": {"kind": kind, "text": text, "field": field}}
    except NotFoundError as error:
        return {"unknown": str(error)}
    except MemoryError:
        return {"memory": True}
    except OSError as error:
        # GDAL's own errors are OSErrors too, without a number.
        number, text = error.errno, error.strerror or str(error)
        return {"failed": f"{type(error).__name__}: {text}", "errno": number}
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}", "errno": None}


def _say(line: int, what: dict[str, Any]) -> None:
    # write, not send: the filter of system calls lets nothing pass that sends.
    data = memoryview(json.dumps(what).encode() + b"\n")
    while data:
        data = data[os.write(line, data) :]


if __name__ == "__main__":
    sys.exit("Started by geoanomaly.sandbox.supervisor only.")
