"""Cloud-optimised GeoTIFFs written tile by tile, whole or not there at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from tiling.types import Tile


@dataclass(frozen=True)
class CogProfile:
    """How one output raster is written: a single band of `dtype`.

    tags: of the dataset; colormap: value -> RGBA, for uint8 only.
    """

    dtype: str
    nodata: float
    description: str
    resampling: str = "AVERAGE"
    tags: Mapping[str, str] = field(default_factory=dict)
    colormap: Mapping[int, tuple[int, int, int, int]] | None = None


def write_cog(
    path: Path,
    geobox: GeoBox,
    profile: CogProfile,
    cores: Iterable[tuple[Tile, NDArray[Any]]],
) -> None:
    """Write (tile, core) pairs as one COG with the CRS, transform and shape of `geobox`.

    Memory stays at a few tiles. The file is checked under a temporary name and
    then renamed; the same cores give the same bytes.
    """
    plain = path.with_name(f".{path.name}.tiles.tif")
    partial = path.with_name(f".{path.name}.partial.tif")
    try:
        _write_plain(plain, geobox, profile, cores)
        _copy_as_cog(plain, partial, profile)
        _check(partial)
        publish(partial, path)
    finally:
        plain.unlink(missing_ok=True)
        partial.unlink(missing_ok=True)


def publish(partial: Path, path: Path) -> None:
    """Give a finished file its name, so that a crash leaves it whole or absent."""
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(path)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that becomes `path` when the block ends well."""
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield partial
        publish(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _write_plain(
    path: Path, geobox: GeoBox, profile: CogProfile, cores: Iterable[tuple[Tile, NDArray[Any]]]
) -> None:
    height, width = geobox.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=1,
        dtype=profile.dtype,
        crs=geobox.crs,
        transform=geobox.affine,
        nodata=profile.nodata,
        tiled=True,
        blockxsize=512,
        blockysize=512,
        SPARSE_OK=True,
        BIGTIFF="IF_SAFER",
    ) as raster:
        raster.set_band_description(1, profile.description)
        raster.update_tags(**profile.tags)
        if profile.colormap is not None:
            raster.write_colormap(1, dict(profile.colormap))
        for tile, core in cores:
            rows, cols = tile.core
            raster.write(core, 1, window=Window.from_slices(rows, cols))


def _copy_as_cog(plain: Path, path: Path, profile: CogProfile) -> None:
    floating = np.issubdtype(np.dtype(profile.dtype), np.floating)
    rasterio.shutil.copy(
        plain,
        path,
        driver="COG",
        COMPRESS="DEFLATE",  # the one that every desktop GIS reads
        PREDICTOR="FLOATING_POINT" if floating else "STANDARD",
        LEVEL=6,
        BLOCKSIZE=512,
        OVERVIEW_RESAMPLING=profile.resampling,
        NUM_THREADS="ALL_CPUS",
        BIGTIFF="IF_SAFER",
    )


def _check(path: Path) -> None:
    valid, errors, _ = cog_validate(path, quiet=True)
    if not valid:
        raise OSError(f"{path.name} is not a valid COG: {'; '.join(errors)}")
    with rasterio.open(path) as raster:
        # A torn write opens cleanly; the last block is what it lacks.
        raster.read(1, window=Window(raster.width - 1, raster.height - 1, 1, 1))
