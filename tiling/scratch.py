"""The scratch store: finished cores as Zarr chunks, one a tile, whole or not there at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.array_spec import ArrayConfigLike
from zarr.core.sync import sync
from zarr.storage import StorePath

from tiling.grid import TileGrid
from tiling.types import Tile

# Scores hardly compress, but tiles of nodata do: the fastest there is. The checksum tells the
# chunks that a power cut left torn, and costs less than to wait for the disk with each.
_CODECS = (BloscCodec(cname="lz4", clevel=1, shuffle="shuffle", typesize=4), Crc32cCodec())

# An all-NaN core must leave a chunk behind, else it would be done again after each restart.
_CONFIG: ArrayConfigLike = {"write_empty_chunks": True}


@dataclass(frozen=True)
class TileStore:
    """A recipe for the store at `location`; the array is opened where it is used.

    location: a folder, or the URL of one in an object store (s3://...), which needs fsspec's
    package for it. A chunk that exists is done: a restarted job goes on from there. Zarr
    writes a chunk under a temporary name and renames it; an object appears whole anyway.
    """

    location: Path | str

    def create(self, grid: TileGrid) -> None:
        """Make the array unless it is there already, for this very grid."""
        if not self.exists():
            _opened.cache_clear()
            zarr.create_array(
                self.location,
                shape=tuple(grid.geobox.shape),
                chunks=grid.core_shape,
                dtype=np.float32,
                fill_value=np.nan,
                compressors=_CODECS,
                config=_CONFIG,
            )
        array = self.open()
        if tuple(array.shape) != tuple(grid.geobox.shape) or array.chunks != grid.core_shape:
            raise ValueError(
                f"{self.location} holds tiles of another grid: {array.shape} in {array.chunks}, "
                f"wanted {tuple(grid.geobox.shape)} in {grid.core_shape}; remove it"
            )

    def exists(self) -> bool:
        try:
            self.open()
        except FileNotFoundError:
            return False
        return True

    def open(self) -> zarr.Array[Any]:
        return zarr.open_array(self.location, mode="r+").with_config(_CONFIG)

    def write(self, tile: Tile, core: NDArray[np.float32]) -> None:
        _opened(self)[tile.core] = core

    def cores(self, grid: TileGrid) -> Iterator[tuple[Tile, NDArray[np.float32]]]:
        """Every tile with its core, NaN where there is none."""
        array = self.open()
        return ((tile, np.asarray(array[tile.core], dtype=np.float32)) for tile in grid)

    def missing(self, grid: TileGrid) -> list[Tile]:
        """The tiles that are still to do; the chunks that are there are read once, to be sure."""
        array = self.open()
        return [tile for tile in grid if not self._done(array, tile)]

    def _done(self, array: zarr.Array[Any], tile: Tile) -> bool:
        if not sync(_chunk(array, tile).exists()):
            return False
        if isinstance(self.location, str):
            return True  # An object is whole, and reading it would fetch it.
        try:
            array[tile.core]
        except (ValueError, RuntimeError):  # The checksum, the decompressor.
            return False
        return True


@lru_cache(maxsize=4)
def _opened(store: TileStore) -> zarr.Array[Any]:
    """Not anew for each tile, which in an object store is a request more."""
    return store.open()


def _chunk(array: zarr.Array[Any], tile: Tile) -> StorePath:
    return array.store_path / array.metadata.encode_chunk_key(tile.index)
