"""Unfinished work of a job: a folder here, and its tiles, which may be in an object store."""

from __future__ import annotations

import shutil
from pathlib import Path

from geoanomaly import remote
from geoanomaly.settings import Settings

TILES, THUMBNAIL = "surprise.zarr", "thumbnail.zarr"


def tiles(folder: Path, settings: Settings) -> Path | str:
    """Where all workers can write tiles: in the folder, or in its namesake in an object store."""
    return _shared(folder, settings, TILES)


def thumbnail(folder: Path, settings: Settings) -> Path | str:
    """Where they can write their parts of the scene's thumbnail."""
    return _shared(folder, settings, THUMBNAIL)


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


def _shared(folder: Path, settings: Settings, name: str) -> Path | str:
    there = _namesake(folder, settings)
    return f"{there}/{name}" if there else folder / name


def _namesake(folder: Path, settings: Settings) -> str | None:
    """Of the job's folder in the object store."""
    url = settings.scratch_url
    return f"{url.rstrip('/')}/{folder.name}" if url else None
