"""What an installation has, what it lacks, and what to do about it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from geoanomaly import __version__
from geoanomaly.sandbox import guards
from geoanomaly.settings import Settings


@dataclass(frozen=True)
class Finding:
    """optional: the main job works without it."""

    name: str
    text: str
    good: bool = True
    optional: bool = False


def examine() -> list[Finding]:
    """All findings, in the order in which a reader would ask."""
    return [
        Finding(
            "geoanomaly",
            f"{__version__}, Python {platform.python_version()}, {platform.platform()}",
        ),
        Finding(
            "libraries",
            ", ".join(
                f"{name} {version(name)}" for name in ("torch", "rasterio", "dask", "celery")
            ),
        ),
        *_compute(),
        *_storage(Settings()),
        _sandbox(),
        _assets(),
        _optional("psycopg", "PostgreSQL as job database", "pip install 'geoanomaly[postgres]'"),
    ]


def _compute() -> Iterator[Finding]:
    import torch

    settings = Settings()
    found = torch.cuda.is_available()
    gpu = torch.cuda.get_device_name() if found else "none: networks run on the processor"
    yield Finding("threads", f"{settings.threads} of {os.cpu_count()} (GEOANOMALY_THREADS)")
    yield Finding("gpu", gpu, good=found, optional=True)


def _storage(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free / 2**30
        yield Finding("data folder", f"{folder}, {free:.0f} GiB free (GEOANOMALY_DATA_DIR)")
    except OSError as error:
        yield Finding("data folder", f"{folder} cannot be written: {error}", good=False)
    yield Finding("database", settings.database)
    yield Finding("broker", settings.broker_url or "embedded Valkey")
    yield Finding("cluster", settings.dask_scheduler or "none: Dask threads of each worker")


def _sandbox() -> Finding:
    lacks = guards.missing()
    text = "; ".join(guards.active())
    if lacks:
        text += f". This kernel has no {' and no '.join(lacks)}: run the service in a container"
    return Finding("raster sandbox", text, good=not lacks, optional=True)


def _assets() -> Finding:
    spec = importlib.util.find_spec("web")
    places = list(spec.submodule_search_locations or ()) if spec else []
    vendored = [place for place in places if (Path(place) / "static" / "vendor").is_dir()]
    if vendored:
        return Finding("map scripts", "vendored: maps work without internet")
    remedy = "python -m web.assets fetches them"
    return Finding(
        "map scripts", f"from Folium's own addresses; {remedy}", good=False, optional=True
    )


def _optional(module: str, purpose: str, remedy: str) -> Finding:
    if importlib.util.find_spec(module) is not None:
        return Finding(module, purpose, optional=True)
    return Finding(module, f"missing ({purpose}): {remedy}", good=False, optional=True)
