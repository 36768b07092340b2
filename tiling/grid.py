"""A raster's grid cut into tiles: every pixel is owned once, edges are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from odc.geo.geobox import GeoBox, GeoboxTiles

from tiling.types import Tile


@dataclass(frozen=True)
class TileGrid:
    """`geobox` cut into cores of `size` pixels, each read with `halo` pixels around it.

    The last row and column may own fewer pixels. They read no more than they need, which
    saves a twentieth of a Sentinel-2 tile; or, if `even`, as much as all others, so that
    what was read can be stacked.
    """

    geobox: GeoBox
    size: int
    halo: int = 0
    even: bool = False

    def __post_init__(self) -> None:
        if self.size < 1 or self.halo < 0:
            raise ValueError(f"tile size {self.size} must be >= 1 and halo {self.halo} >= 0")

    @cached_property
    def core_shape(self) -> tuple[int, int]:
        """(height, width) of a full core; never larger than the grid."""
        height, width = self.geobox.shape
        return min(self.size, height), min(self.size, width)

    @cached_property
    def _tiles(self) -> GeoboxTiles:
        return GeoboxTiles(self.geobox, self.core_shape)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of tiles."""
        rows, cols = self._tiles.shape
        return rows, cols

    def __len__(self) -> int:
        rows, cols = self.shape
        return rows * cols

    def __iter__(self) -> Iterator[Tile]:
        rows, cols = self.shape
        return (self.tile(row, col) for row in range(rows) for col in range(cols))

    def tile(self, row: int, col: int) -> Tile:
        rows, cols = self._tiles.roi[row, col]
        return Tile(
            index=(row, col),
            core=(rows, cols),
            read=(self._around(rows, self.core_shape[0]), self._around(cols, self.core_shape[1])),
            geobox=self.geobox[rows, cols],
        )

    def _around(self, span: slice, full: int) -> slice:
        stop = span.start + full if self.even else span.stop
        return slice(span.start - self.halo, stop + self.halo)


GROUP = 4
"""Tiles on each side of those that follow one another: neighbours share blocks of the source."""


def spread(tiles: Sequence[Tile]) -> list[Tile]:
    """In groups from all over the grid, so that the first ones go as fast as the rest will.

    Row by row, a scene that begins with open sea or nodata would promise too much.
    """
    groups: dict[tuple[int, int], list[Tile]] = {}
    for tile in tiles:
        row, col = tile.index
        groups.setdefault((row // GROUP, col // GROUP), []).append(tile)
    ordered = [groups[name] for name in sorted(groups)]
    Random(0).shuffle(ordered)
    return [tile for group in ordered for tile in group]
