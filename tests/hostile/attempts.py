"""What a child that a file has taken over might try. Each answers what it got."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def read(arguments: dict[str, Any], _: object) -> str:
    return Path(arguments["path"]).read_text()


def write(arguments: dict[str, Any], _: object) -> int:
    return Path(arguments["path"]).write_bytes(b"x" * arguments.get("bytes", 1))


def connect(arguments: dict[str, Any], _: object) -> str:
    socket.create_connection((arguments["host"], arguments["port"]), timeout=2).close()
    return "connected"


def run(_: dict[str, Any], __: object) -> str:
    return subprocess.check_output([sys.executable, "-c", "print(1)"], text=True)


def kill(arguments: dict[str, Any], _: object) -> str:
    os.kill(arguments["pid"], signal.SIGKILL)
    return "killed"


def variables(_: dict[str, Any], __: object) -> dict[str, str]:
    return dict(os.environ)


def hang(_: dict[str, Any], __: object) -> None:
    time.sleep(60)


def spin(_: dict[str, Any], __: object) -> None:
    while True:
        pass


def fill(arguments: dict[str, Any], _: object) -> int:
    return int(np.ones(arguments["bytes"], np.uint8).sum())


def crash(_: dict[str, Any], __: object) -> None:
    os.abort()


def vanish(_: dict[str, Any], __: object) -> None:
    os._exit(3)


def flood(_: dict[str, Any], __: object) -> str:
    return "x" * (32 * 2**20)


def thread(_: dict[str, Any], __: object) -> int:
    found: list[int] = []
    one = threading.Thread(target=lambda: found.append(1))
    one.start()
    one.join()
    return len(found)


def slowly(_: dict[str, Any], tell: Callable[[float], None]) -> None:
    for step in range(600):
        tell(step / 600)
        time.sleep(0.1)


def process(_: dict[str, Any], __: object) -> int:
    return os.getpid()
