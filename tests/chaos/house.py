"""The parts of `geoanomaly serve` as children that may be killed as often as one likes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from geoanomaly import service
from geoanomaly.service import Child, Part
from geoanomaly.settings import Settings
from tasks.queue import socket_path
from tests.services import ROOT, mentioning

CLOCK = Path(__file__).parent / "clock"


class House:
    """Broker, web server and two workers; each is started again as soon as it is dead.

    worker: the module that runs. Each part has a wall clock of its own, which `jump` sets.
    """

    def __init__(self, settings: Settings, port: int, worker: str) -> None:
        self.settings = settings
        named = service.parts(settings, "127.0.0.1", port, 1)
        broker, _, web = named
        workers = [Part(f"worker-{number}", worker) for number in (1, 2)]
        self.children = [self._child(part) for part in (broker, web, *workers)]
        self._stopping = threading.Event()
        self._wipe = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """Gracefully, as the service does it."""
        self._stopping.set()
        self._watcher.join()
        for child in reversed(self.children):
            child.stop()
        shutil.rmtree(socket_path(self.settings).parent, ignore_errors=True)

    def processes(self, name: str) -> list[psutil.Process]:
        """The living ones of a part: its leader first, then its children."""
        child = next(each for each in self.children if each.part.name == name)
        with suppress(psutil.NoSuchProcess):
            leader = psutil.Process(child.process.pid)
            return [leader, *leader.children(recursive=True)]
        return []

    def signal(self, process: psutil.Process, number: signal.Signals) -> bool:
        """Only a process of ours that still is the one that was meant."""
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            process.send_signal(number)
            return True
        return False

    def forget_rings(self) -> None:
        """Kill the broker and wipe its folder before it is started again."""
        self._wipe.set()
        for process in self.processes("broker"):
            self.signal(process, signal.SIGKILL)

    def jump(self, chance: random.Random) -> str:
        """Set the clock of a part; the answer names it and its new offset."""
        name = chance.choice([child.part.name for child in self.children[1:]])
        offset = chance.choice((-86_400, -3600, -60, 0, 60, 3600, 86_400))
        self._set_clock(name, offset)
        return f"{name} {offset:+d} s"

    def left(self) -> list[str]:
        """Command lines of processes that mention the data folder: none once it is closed."""
        return mentioning(str(self.settings.data_dir))

    def _clock(self, name: str) -> Path:
        return self.settings.data_dir / f"clock-{name}"

    def _set_clock(self, name: str, offset: int) -> None:
        path = self._clock(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(str(offset))
        partial.replace(path)

    def _child(self, part: Part) -> Child:
        with _environment(self._variables(part)):
            return Child(part, self.settings)

    def _variables(self, part: Part) -> dict[str, str]:
        self._set_clock(part.name, 0)
        path = os.pathsep.join([str(CLOCK), str(ROOT)])
        return {"PYTHONPATH": path, "CHAOS_CLOCK": str(self._clock(part.name))}

    def _watch(self) -> None:
        while not self._stopping.wait(0.02):
            for child in self.children:
                if child.code is not None:
                    child.clear(signal.SIGTERM)
                    if child.part.name == "broker" and self._wipe.is_set():
                        self._wipe.clear()
                        _wait_until_dead(self.settings)
                        shutil.rmtree(self.settings.data_dir / "broker", ignore_errors=True)
                    with _environment(self._variables(child.part)):
                        child.start()


def _wait_until_dead(settings: Settings) -> None:
    from tasks.broker import ping

    give_up = time.monotonic() + 5
    while ping(socket_path(settings)) and time.monotonic() < give_up:
        time.sleep(0.05)


_STARTING = threading.Lock()


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """For children that are started inside; they take over what is set here."""
    with _STARTING:
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
