"""What the processes of the sandbox find around them: few variables, few drivers, our libraries."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

WRITING = ("GTiff", "COG", "MEM")
VECTORS = ("GPKG", "ESRI Shapefile", "KML", "LIBKML")
"""Of areas; rasters are opened with the drivers of the settings by their names."""


def environment(drivers: Sequence[str]) -> dict[str, str]:
    """Of the template: nothing of ours, so that no secret is in it, and GDAL with few drivers."""
    return {
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        # What is left: to read, and to write what was read.
        "GDAL_SKIP": ",".join(sorted(_registered() - {*drivers, *WRITING, *VECTORS})),
        "GDAL_CACHEMAX": "64",
        # No sidecar (.aux.xml, .ovr, .msk) is ever looked for.
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_PAM_ENABLED": "NO",
        # A file may name an address to fetch: such a request must end at a closed port.
        "GDAL_HTTP_PROXY": "127.0.0.1:9",
        "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
        "PROJ_NETWORK": "OFF",
    }


@lru_cache(maxsize=1)
def _registered() -> set[str]:
    """All drivers of rasterio's GDAL."""
    import rasterio

    with rasterio.Env() as env:
        return set(env.drivers())


@lru_cache(maxsize=1)
def libraries() -> tuple[str, ...]:
    """Folders of code and of its data (the grid files of PROJ), for imports on first use."""
    here = Path(__file__).parents[2]
    own = [str(here / name) for name in ("geoanomaly", "tiling")]
    shared = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/proc/self", "/proc/meminfo"]
    return (sys.prefix, sys.base_prefix, *own, *shared, "/dev/null", "/dev/urandom")
