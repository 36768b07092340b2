"""Death at a chosen point: every call that changes a disk or tells somebody is counted.

A process that has `watch`ed its calls dies by SIGKILL right before, in the middle of (files
only) or right after the call whose number it was given.
"""

from __future__ import annotations

import functools
import os
import pathlib
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy.engine.default import DefaultDialect


class Side(StrEnum):
    BEFORE = "before"
    MIDDLE = "middle of"
    AFTER = "after"


@dataclass(frozen=True)
class Death:
    number: int
    side: Side


@dataclass
class Points:
    """The calls of one life, in their order. death: where it ends; None to live on."""

    death: Death | None = None
    names: list[str] = field(default_factory=list)

    def watch(self, owner: Any, name: str, label: str = "") -> None:
        """Count the calls of `owner.name` from now on."""
        setattr(owner, name, self.counted(getattr(owner, name), label or name))

    def counted(self, function: Callable[..., Any], label: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            number = len(self.names)
            self.names.append(label)
            self._die_at(number, Side.BEFORE)
            try:
                return function(*args, **kwargs)
            finally:
                if self.death == Death(number, Side.MIDDLE):
                    _cut(pathlib.Path(args[1] if label == "copy raster" else args[0]))
                self._die_at(number, Side.MIDDLE)
                self._die_at(number, Side.AFTER)

        return call

    def _die_at(self, number: int, side: Side) -> None:
        if self.death == Death(number, side):
            os.kill(os.getpid(), signal.SIGKILL)


FILES = ("write_text", "write_bytes", "copy raster")
"""Calls that can be cut in the middle: half a file is on the disk."""


FOLDERS = ("mkdir", "rmdir", "unlink", "link")
"""Calls that make room or take it away."""


def sides(name: str, *, whole: bool) -> tuple[Side, ...]:
    """Where to die at a call. Else than in the whole form only where it is no repetition: right
    after a call is right before the next, but for files, which may be cut."""
    if whole:
        return tuple(Side) if name in FILES else (Side.BEFORE, Side.AFTER)
    if name in FOLDERS:
        return ()
    return (Side.BEFORE, Side.MIDDLE) if name in FILES else (Side.BEFORE,)


def watch_all(points: Points) -> None:
    """Writes, syncs, renames, removals and commits of this process."""
    import rasterio.shutil

    for name in ("mkdir", "rename", "replace", "link", "fsync", "unlink", "rmdir"):
        points.watch(os, name)
    for name in ("write_text", "write_bytes"):
        points.watch(pathlib.Path, name)
    points.watch(rasterio.shutil, "copy", "copy raster")
    points.watch(DefaultDialect, "do_commit", "commit")


def _cut(path: pathlib.Path) -> None:
    os.truncate(path, path.stat().st_size // 2)
