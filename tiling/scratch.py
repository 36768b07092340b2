"""The scratch store: finished cores as Zarr chunks, one a tile, whole or not there at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from tiling.grid import TileGrid
from tiling.types import Tile


@dataclass(frozen=True)
class TileStore:
    """A recipe for the store below `path`; the array is opened where it is used.

    A chunk that exists is done: a restarted job goes on from there. Zarr writes a
    chunk under a temporary name and renames it.
    """

    path: Path

    def create(self, grid: TileGrid) -> None:
        """Make the array unless it is there already, for this very grid."""
        array = zarr.create_array(
            self.path,
            shape=tuple(grid.geobox.shape),
            chunks=grid.core_shape,
            dtype=np.float32,
            fill_value=np.nan,
            # An all-NaN core must leave a chunk behind, else it would be done again.
            config={"write_empty_chunks": True},
            overwrite=False,
        ) if not self.exists() else self.open()
        if tuple(array.shape) != tuple(grid.geobox.shape) or array.chunks != grid.core_shape:
            raise ValueError(
                f"{self.path} holds tiles of another grid: {array.shape} in {array.chunks}, "
                f"wanted {tuple(grid.geobox.shape)} in {grid.core_shape}; remove it"
            )

    def exists(self) -> bool:
        return (self.path / "zarr.json").exists()

    def open(self) -> zarr.Array:
        return zarr.open_array(self.path, mode="r+", config={"write_empty_chunks": True})

    def write(self, tile: Tile, core: NDArray[np.float32]) -> None:
        self.open()[tile.core] = core

    def read(self, tile: Tile) -> NDArray[np.float32]:
        return np.asarray(self.open()[tile.core], dtype=np.float32)

    def missing(self, grid: TileGrid) -> list[Tile]:
        """The tiles that are still to do."""
        array = self.open()
        return [tile for tile in grid if not sync(_chunk(array, tile).exists())]


def _chunk(array: zarr.Array, tile: Tile):  # type: ignore[no-untyped-def]
    return array.store_path / array.metadata.encode_chunk_key(tile.index)
