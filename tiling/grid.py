"""A raster's grid cut into tiles: every pixel is owned once, edges are kept."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter

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


GROUP = (8, 4)
"""(rows, columns) of tiles that follow one another, row by row: neighbours share blocks of the
source."""

GROUP_ROWS = 16
"""Where it is known which tiles are blank, so that groups need not begin all over the grid."""


def group_shape(columns: int, tile_bytes: int, widest: float, cache_bytes: int) -> tuple[int, int]:
    """(rows, columns) of tiles in a group: as many columns as a cache holds blocks for.

    columns: of the grid; tile_bytes: of the source for one tile; widest: of its blocks, in tiles.
    What a row of tiles has read the next one needs again, with what lies above and below: three
    rows of blocks, and the neighbours at both ends. Groups are alike in width, and no narrower
    than `GROUP`.
    """
    fitting = cache_bytes // (3 * max(tile_bytes, 1)) - 2
    # A block that reaches over many tiles would be decoded again in each group of fewer.
    width = min(max(fitting, math.ceil(widest), GROUP[1]), columns)
    return GROUP_ROWS, math.ceil(columns / math.ceil(columns / width))


EVENLY = (0.7548776662466927, 0.5698402909980532)
"""The steps of the R2 sequence (Roberts 2018, "The unreasonable effectiveness of quasirandom
sequences"). Places sorted by their sum's fraction begin evenly all over the plane, which those in
random order do not."""


def spread(
    tiles: Sequence[Tile],
    blank: Container[tuple[int, int]] = (),
    group: tuple[int, int] = GROUP,
) -> list[Tile]:
    """In groups from all over the grid, so that the first ones go as fast as the rest will.

    Row by row, a scene that begins with open sea or nodata would promise too much. blank:
    indexes of tiles that are known to take next to no time; these lie evenly between the others.
    group: its (rows, columns).
    """
    kinds = (
        _in_groups([tile for tile in tiles if (tile.index in blank) is kind], group)
        for kind in (False, True)
    )
    placed = [
        ((number + 0.5) / len(kind), tile) for kind in kinds for number, tile in enumerate(kind)
    ]
    return [tile for _, tile in sorted(placed, key=itemgetter(0))]


def _in_groups(tiles: Sequence[Tile], group: tuple[int, int]) -> list[Tile]:
    groups: dict[tuple[int, int], list[Tile]] = {}
    for tile in tiles:
        row, col = tile.index
        groups.setdefault((row // group[0], col // group[1]), []).append(tile)
    ordered = sorted(groups, key=lambda place: (place[0] * EVENLY[0] + place[1] * EVENLY[1]) % 1)
    return [tile for place in ordered for tile in groups[place]]
