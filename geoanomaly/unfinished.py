"""Unfinished work of a job: a folder here, and its tiles, which may be in an object store."""

from __future__ import annotations

import shutil
from pathlib import Path

from geoanomaly import remote
from geoanomaly.settings import Settings

TILES = "surprise.zarr"


def tiles(folder: Path, settings: Settings) -> Path | str:
    """Where all workers can write tiles: in the folder, or in its namesake in an object store."""
    there = _namesake(folder, settings)
    return f"{there}/{TILES}" if there else folder / TILES


def clear(folder: Path, settings: Settings) -> None:
    """Remove all of it, the folder last: it is the mark that something may be left.

    `OSError` when the object store does not do it; the folder stays then.
    """
    there = _namesake(folder, settings)
    if there:
        remote.remove(there)
    shutil.rmtree(folder, ignore_errors=True)


def make_room(folder: Path) -> None:
    """Remove what is in the folder, on a disk that is full."""
    for each in folder.iterdir() if folder.is_dir() else ():
        if each.is_dir():
            shutil.rmtree(each, ignore_errors=True)
        else:
            each.unlink(missing_ok=True)


def _namesake(folder: Path, settings: Settings) -> str | None:
    """Of the job's folder in the object store."""
    url = settings.scratch_url
    return f"{url.rstrip('/')}/{folder.name}" if url else None
