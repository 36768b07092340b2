"""Why a job failed, in words for the one who asked for it."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from geoanomaly.errors import GeoanomalyError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
SPARE_BYTES = 4 * 2**20


def explained(error: BaseException, folder: Path) -> str:
    """The reason to record. folder: where the job wrote, whose disk may be full."""
    ours = isinstance(error, GeoanomalyError)
    reason = str(error) if ours else f"{type(error).__name__}: {error}"
    return f"{_disk_full(folder)} ({reason})" if is_full(error, folder) else reason


def is_full(error: BaseException, folder: Path) -> bool:
    """GDAL and the like say it in words of their own, if at all: then the disk is asked."""
    if any(isinstance(each, OSError) and each.errno in FULL for each in _chain(error)):
        return True
    return not isinstance(error, GeoanomalyError) and _free(folder) < SPARE_BYTES


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _disk_full(folder: Path) -> str:
    return (
        f"The disk of the data folder is full ({_free(folder) / 2**20:,.0f} MiB are free). "
        "Earlier results are safe. Free some space, then ask for the job again."
    )


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free
