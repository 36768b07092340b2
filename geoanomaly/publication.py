"""Folders that appear whole or not at all, and what is left of those that never did.

An attempt at a job writes below `ROOT/.writing/TOKEN`, where nobody looks. When all is
there, one rename gives the folder its name. The token is the job's id and the fence of the
lease, so that two workers who both believe that a job is theirs never share a folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tiling.cog import sync

WRITING = ".writing"


@dataclass(frozen=True)
class Attempt:
    """The folder `name` below `root`, on its way."""

    root: Path
    name: str
    token: str

    @property
    def written(self) -> Path:
        """Where to write it. It has its later name: files inside may quote that."""
        return self._place / "new" / self.name

    def publish(self) -> None:
        """Give it its name. What had the name before goes."""
        path, old = self.root / self.name, self._place / "old" / self.name
        if path.exists() and not self.written.exists():
            return  # It has it since an earlier try, after which the database was away.
        for file in (*self.written.iterdir(), self.written):
            sync(file)
        if path.exists():
            old.parent.mkdir(exist_ok=True)
            path.rename(old)
        self.written.rename(path)
        sync(self.root)

    def discard(self) -> None:
        """Remove what was not published, or what publishing replaced."""
        discard(self._place)

    @property
    def _place(self) -> Path:
        return self.root / WRITING / self.token


def attempts(root: Path) -> Iterator[Path]:
    """Folders of attempts below `root`, living and dead; their names are the tokens."""
    place = root / WRITING
    yield from place.iterdir() if place.is_dir() else ()


def discard(place: Path) -> None:
    """Remove an attempt; what it was about to replace when its process died comes back."""
    root = place.parents[1]
    old = place / "old"
    for folder in old.iterdir() if old.is_dir() else ():
        if not (root / folder.name).exists():
            folder.rename(root / folder.name)
    shutil.rmtree(place, ignore_errors=True)
