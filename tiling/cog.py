"""Cloud-optimised GeoTIFFs written tile by tile, whole or not there at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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

from tiling.source import stored
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
    path: Path, geobox: GeoBox, profile: CogProfile, cores: Iterable[tuple[Tile, NDArray[Any]]]
) -> None:
    """One raster of (tile, core) pairs, as `plain_tiles`."""
    pairs = ((tile, (core,)) for tile, core in cores)
    with plain_tiles({path: profile}, geobox, pairs) as plain:
        plain.pack(threads=1)


@dataclass(frozen=True)
class PlainTiles:
    """Rasters that are whole and can be read, but are not yet COGs under their own names."""

    writing: tuple[_Writing, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """In the order of the profiles."""
        return tuple(each.plain for each in self.writing)

    def pack(self, threads: int) -> None:
        """Make the COGs, check them, and give all of them their names, or none.

        threads: that compress each file. The same cores give the same bytes.
        """
        for each in self.writing:
            each.compress(threads)
        for each in self.writing:
            publish(each.partial, each.path)


@contextmanager
def plain_tiles(
    profiles: Mapping[Path, CogProfile],
    geobox: GeoBox,
    cores: Iterable[tuple[Tile, Sequence[NDArray[Any]]]],
) -> Iterator[PlainTiles]:
    """Write tiles, with a core for each file, as rasters on `geobox` that will be COGs.

    Tiles that are left out have no data. The rasters can be read while they are packed. Memory
    stays at a few tiles. What was not packed is gone at the end.
    """
    plain = PlainTiles(tuple(_Writing(path, profile) for path, profile in profiles.items()))
    try:
        with ExitStack() as stack:
            opened = [stack.enter_context(each.open(geobox)) for each in plain.writing]
            for tile, parts in cores:
                window = Window.from_slices(*tile.core)
                for raster, core in zip(opened, parts, strict=True):
                    raster.write(core, 1, window=window)
        yield plain
    finally:
        for each in plain.writing:
            each.plain.unlink(missing_ok=True)
            each.partial.unlink(missing_ok=True)


def publish(partial: Path, path: Path) -> None:
    """Give a finished file its name, so that a crash leaves it whole or absent."""
    sync(partial)
    partial.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file is on the disk; or a folder, which is where the names of files are kept."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that becomes `path` when the block ends well."""
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield partial
        publish(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Writing:
    """A file on its way: plain tiles first, which may come in any order, then the COG of them."""

    path: Path
    profile: CogProfile

    @property
    def plain(self) -> Path:
        return self.path.with_name(f".{self.path.name}.tiles.tif")

    @property
    def partial(self) -> Path:
        return self.path.with_name(f".{self.path.name}.partial.tif")

    @contextmanager
    def open(self, geobox: GeoBox) -> Iterator[Any]:
        height, width = geobox.shape
        with rasterio.open(
            self.plain,
            "w",
            driver="GTiff",
            height=height,
            width=width,
            count=1,
            dtype=self.profile.dtype,
            crs=geobox.crs,
            transform=geobox.affine,
            nodata=self.profile.nodata,
            tiled=True,
            blockxsize=512,
            blockysize=512,
            SPARSE_OK=True,
            BIGTIFF="IF_SAFER",
        ) as raster:
            raster.set_band_description(1, self.profile.description)
            raster.update_tags(**self.profile.tags)
            if self.profile.colormap is not None:
                raster.write_colormap(1, dict(self.profile.colormap))
            yield raster

    def compress(self, threads: int) -> None:
        floating = np.issubdtype(np.dtype(self.profile.dtype), np.floating)
        # The overviews wait in a file of their own, which would be packed, slowly, only to be
        # unpacked again.
        with rasterio.Env(COG_TMP_COMPRESSION="NONE"):
            rasterio.shutil.copy(
                self.plain,
                self.partial,
                driver="COG",
                COMPRESS="DEFLATE",  # the one that every desktop GIS reads
                PREDICTOR="FLOATING_POINT" if floating else "NO",
                LEVEL=1,  # scores are noise to a compressor: 6 takes twice as long for 1.5 % less
                BLOCKSIZE=256,  # of which a tile of a web map needs few, read at random
                OVERVIEW_RESAMPLING=self.profile.resampling,
                SPARSE_OK=True,  # where there is no data, there is no block
                NUM_THREADS=threads,
                BIGTIFF="IF_SAFER",
            )
        _check(self.partial)


def _check(path: Path) -> None:
    valid, errors, _ = cog_validate(path, quiet=True)
    if not valid:
        raise OSError(f"{path.name} is not a valid COG: {'; '.join(errors)}")
    with rasterio.open(path) as raster:
        # A torn write opens cleanly; the last block is what it lacks.
        raster.read(1, window=_last_block(raster))


def _last_block(raster: Any) -> Window:
    """The last one that is stored, or one that is not if none is."""
    height, width = raster.block_shapes[0]
    for row in reversed(range(0, raster.height, height)):
        for col in reversed(range(0, raster.width, width)):
            if stored(raster, row // height, col // width):
                return Window(col, row, 1, 1)
    return Window(0, 0, 1, 1)
