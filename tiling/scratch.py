"""The scratch store: finished cores as Zarr chunks, one a tile, whole or not there at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.array_spec import ArrayConfigLike
from zarr.core.sync import sync
from zarr.storage import StorePath

from tiling.grid import TileGrid
from tiling.types import Tile

# An all-NaN core must leave a chunk behind, else it would be done again after each restart.
_CONFIG: ArrayConfigLike = {"write_empty_chunks": True}


@dataclass(frozen=True)
class TileStore:
    """A recipe for the store below `path`; the array is opened where it is used.

    A chunk that exists is done: a restarted job goes on from there. Zarr writes a
    chunk under a temporary name and renames it.
    """

    path: Path

    def create(self, grid: TileGrid) -> None:
        """Make the array unless it is there already, for this very grid."""
        if not self.exists():
            zarr.create_array(
                self.path,
                shape=tuple(grid.geobox.shape),
                chunks=grid.core_shape,
                dtype=np.float32,
                fill_value=np.nan,
                config=_CONFIG,
            )
        array = self.open()
        if tuple(array.shape) != tuple(grid.geobox.shape) or array.chunks != grid.core_shape:
            raise ValueError(
                f"{self.path} holds tiles of another grid: {array.shape} in {array.chunks}, "
                f"wanted {tuple(grid.geobox.shape)} in {grid.core_shape}; remove it"
            )

    def exists(self) -> bool:
        return (self.path / "zarr.json").exists()

    def open(self) -> zarr.Array[Any]:
        return zarr.open_array(self.path, mode="r+").with_config(_CONFIG)

    def write(self, tile: Tile, core: NDArray[np.float32]) -> None:
        self.open()[tile.core] = core

    def read(self, tile: Tile) -> NDArray[np.float32]:
        return np.asarray(self.open()[tile.core], dtype=np.float32)

    def missing(self, grid: TileGrid) -> list[Tile]:
        """The tiles that are still to do."""
        array = self.open()
        return [tile for tile in grid if not sync(_chunk(array, tile).exists())]


def _chunk(array: zarr.Array[Any], tile: Tile) -> StorePath:
    return array.store_path / array.metadata.encode_chunk_key(tile.index)
