"""Rooms of the dead are cleared, those of the living are not."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from geoanomaly.intake.workrooms import clear, workroom
from tests.services import ROOT

WORK = """
import sys
from pathlib import Path
from geoanomaly.intake.workrooms import workroom
with workroom(Path(sys.argv[1])) as room:
    (room / "half.tif").write_text("half")
    print(room, flush=True)
    sys.stdin.read()
"""


def test_a_room_goes_with_its_block(tmp_path: Path) -> None:
    with workroom(tmp_path) as room:
        (room / "half.tif").touch()
        clear(tmp_path)
        assert (room / "half.tif").exists(), "somebody works in it"
    assert list(tmp_path.iterdir()) == []


def test_only_rooms_of_dead_processes_are_cleared(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORK, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    workers = [subprocess.Popen(command, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    try:
        rooms = [Path(worker.stdout.readline().strip()) for worker in workers]
        clear(tmp_path)
        assert all((room / "half.tif").exists() for room in rooms)
        workers[0].send_signal(signal.SIGKILL)
        workers[0].wait()
        clear(tmp_path)
        assert [room.exists() for room in rooms] == [False, True]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    clear(tmp_path)
    assert list(tmp_path.iterdir()) == []
