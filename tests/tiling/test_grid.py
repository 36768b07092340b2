"""Every pixel is owned once, whatever the sizes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.transform import Affine

from tiling.grid import TileGrid, spread

grids = st.builds(
    lambda height, width, size, halo, even: TileGrid(
        GeoBox((height, width), Affine(10, 0, 500_000, 0, -10, 5_400_000), "EPSG:32633"),
        size,
        halo,
        even,
    ),
    st.integers(1, 200),
    st.integers(1, 200),
    st.integers(9, 250),
    st.integers(0, 40),
    st.booleans(),
)


@given(grids)
def test_every_pixel_is_owned_once(grid: TileGrid) -> None:
    owners = np.zeros(grid.geobox.shape, dtype=int)
    for tile in grid:
        owners[tile.core] += 1
    assert (owners == 1).all()
    assert len(list(grid)) == len(grid)


@given(grids)
def test_a_tile_is_georeferenced_like_its_part_of_the_whole(grid: TileGrid) -> None:
    for tile in grid:
        assert tile.geobox == grid.geobox[tile.core]


@given(grids)
def test_all_windows_hold_their_core_and_its_halo(grid: TileGrid) -> None:
    for tile in grid:
        rows, cols = tile.read
        height, width = grid.core_shape if grid.even else tile.shape
        assert rows.stop - rows.start == height + 2 * grid.halo
        assert cols.stop - cols.start == width + 2 * grid.halo
        inner_rows, inner_cols = tile.inner
        assert inner_rows.start == inner_cols.start == grid.halo
        assert (
            inner_rows.stop - inner_rows.start,
            inner_cols.stop - inner_cols.start,
        ) == tile.shape


@given(grids)
def test_cut_and_stitched_equals_whole(grid: TileGrid) -> None:
    whole = np.random.default_rng(0).normal(size=grid.geobox.shape)
    height, width = grid.core_shape
    padded = np.pad(
        whole,
        ((grid.halo, grid.halo + height), (grid.halo, grid.halo + width)),
        constant_values=np.nan,
    )
    stitched = np.full_like(whole, np.nan)
    for tile in grid:
        rows, cols = tile.read
        window = padded[
            rows.start + grid.halo : rows.stop + grid.halo,
            cols.start + grid.halo : cols.stop + grid.halo,
        ]
        stitched[tile.core] = window[tile.inner]
    assert np.array_equal(stitched, whole)


@given(grids)
def test_spread_tiles_are_all_the_tiles(grid: TileGrid) -> None:
    tiles = list(grid)
    found = spread(tiles)
    assert sorted(each.index for each in found) == [each.index for each in tiles]
    assert [each.index for each in found] == [each.index for each in spread(tiles)]


@given(grids, st.floats(0, 1), st.integers(0, 1000))
def test_blank_tiles_lie_evenly_between_the_others(grid: TileGrid, share: float, seed: int) -> None:
    tiles, rng = list(grid), np.random.default_rng(seed)
    blank = {tile.index for tile in tiles if rng.random() < share}
    found = [tile.index for tile in spread(tiles, blank)]
    assert sorted(found) == [tile.index for tile in tiles]
    seen = np.cumsum([index in blank for index in found])
    even = np.arange(1, len(found) + 1) * len(blank) / len(found)
    assert np.abs(seen - even).max() <= 1
    others = [tile for tile in tiles if tile.index not in blank]
    wanted = [tile.index for tile in spread(others)]
    assert [index for index in found if index not in blank] == wanted
