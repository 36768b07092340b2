"""Every pixel is owned once, whatever the sizes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.transform import Affine

from tiling.grid import GROUP, TileGrid, group_shape, spread

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
    for group in ((8, 4), (3, 7)):
        found = spread(tiles, group=group)
        assert sorted(each.index for each in found) == [each.index for each in tiles]
        again = spread(tiles, group=group)
        assert [each.index for each in found] == [each.index for each in again]


@given(st.integers(1, 300), st.integers(1, 10**7), st.floats(0.1, 80), st.integers(2**20, 2**30))
def test_a_row_of_a_group_is_what_a_cache_holds(
    columns: int, tile_bytes: int, widest: float, cache: int
) -> None:
    _, width = group_shape(columns, tile_bytes, widest, cache)
    assert 1 <= width <= columns
    # Wider than the cache allows only as far as the blocks themselves are, or the least group.
    least = max(math.ceil(widest), GROUP[1])
    assert width <= least or 3 * (width + 2) * tile_bytes <= cache
    # In even parts: one group less would be too wide.
    parts = math.ceil(columns / width)
    assert width == math.ceil(columns / parts)


@pytest.mark.parametrize(
    ("columns", "bands", "widest", "width"),
    [
        pytest.param(22, 4, 1, 11, id="a Sentinel-2 tile of four bands"),
        pytest.param(22, 10, 1, 6, id="of ten"),
        pytest.param(80, 4, 80, 80, id="lines of a drone's mosaic"),
        pytest.param(3, 4, 1, 3, id="a small scene"),
    ],
)
def test_width_of_groups(columns: int, bands: int, widest: float, width: int) -> None:
    assert group_shape(columns, 512 * 512 * bands * 2, widest, 128 * 2**20)[1] == width


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
