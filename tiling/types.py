"""The values of the inner loop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

Rows = slice
Cols = slice


@dataclass(frozen=True)
class Tile:
    """One piece of a `TileGrid`.

    index: (row, column) in the grid of tiles.
    core: the pixels that this tile owns, as (rows, columns) of the whole grid.
    read: core plus halo, all tiles alike in shape; reaches beyond the grid at its edges.
    geobox: georeference of the core.
    """

    index: tuple[int, int]
    core: tuple[slice, slice]
    read: tuple[slice, slice]
    geobox: GeoBox

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the core."""
        rows, cols = self.core
        return rows.stop - rows.start, cols.stop - cols.start

    @property
    def inner(self) -> tuple[slice, slice]:
        """The core as (rows, columns) of the array that was read."""
        (rows, cols), (read_rows, read_cols) = self.core, self.read
        return (
            slice(rows.start - read_rows.start, rows.stop - read_rows.start),
            slice(cols.start - read_cols.start, cols.stop - read_cols.start),
        )

    def __str__(self) -> str:
        (rows, cols) = self.core
        window = f"rows {rows.start}-{rows.stop}, columns {cols.start}-{cols.stop}"
        return f"tile {self.index} ({window})"


@dataclass(frozen=True)
class TileBatch:
    """Pixels on their way to a network.

    data: float32, shape (n, band, y, x), 0 where not valid.
    valid: bool, shape (n, y, x), True = valid.
    """

    data: NDArray[np.float32]
    valid: NDArray[np.bool_]

    @classmethod
    def from_nan(cls, data: NDArray[np.float32]) -> TileBatch:
        """Split (n, band, y, x) values with NaN for nodata; all bands of a pixel must be there."""
        valid = np.asarray(np.isfinite(data).all(axis=1))
        if valid.all():
            return cls(data, valid)
        return cls(np.where(valid[:, None], data, np.float32(0)), valid)

    @property
    def any_valid(self) -> bool:
        return bool(self.valid.any())

    def window(self, number: int) -> TileBatch:
        """One of the n, as a batch of one."""
        return TileBatch(self.data[number : number + 1], self.valid[number : number + 1])
