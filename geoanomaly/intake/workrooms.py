"""Temporary folders of which it can be told whether the process that made them still lives.

Such a folder lies beside what will come out of it, so that the last step is a rename. A
process that is killed leaves it; a lock on a file in it, which ends with the process
however that ends, tells it from one in which somebody works.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".upload-"
LOCK = ".lock"

log = logging.getLogger(__name__)


@contextmanager
def workroom(parent: Path) -> Iterator[Path]:
    """A new folder below `parent`, gone at the end."""
    folder, lock = _locked(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def clear(parent: Path) -> None:
    """Remove the rooms of dead processes; those in which somebody works stay."""
    for folder in parent.glob(f"{PREFIX}*"):
        # Somebody has the lock, or it is not there yet: the room is being made this moment.
        with suppress(OSError):
            lock = os.open(folder / LOCK, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                log.warning("%s was left by a process that was killed: removed", folder)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _locked(parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=PREFIX))
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / LOCK).exists():
            return folder, lock
        os.close(lock)  # Cleared between the two lines above.
