"""Scratch chunks and COGs are whole or absent, and their bytes depend on the pixels alone."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import zarr
from odc.geo.geobox import GeoBox
from rio_cogeo.cogeo import cog_validate

from tests.rasters import NORTH_UP, UTM, texture
from tiling import cog
from tiling.cog import CogProfile, write_cog
from tiling.grid import TileGrid
from tiling.scratch import TileStore

GRID = TileGrid(GeoBox((200, 300), NORTH_UP, UTM), 128)
PROFILE = CogProfile("float32", np.nan, "surprise", tags={"WHO": "test"})


def pixels() -> np.ndarray:
    data = texture(3, 1, 200, 300)[0]
    data[50:60, 100:200] = np.nan
    return data


@pytest.mark.parametrize("damage", [lambda b: b[:0], lambda b: b[:100], lambda b: bytes(len(b))])
def test_a_chunk_that_a_power_cut_left_torn_is_done_again(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    store = TileStore(tmp_path / "s.zarr")
    store.create(GRID)
    for tile in GRID:
        store.write(tile, pixels()[tile.core])
    chunk = tmp_path / "s.zarr" / "c" / "1" / "2"
    chunk.write_bytes(damage(chunk.read_bytes()))
    torn = store.missing(GRID)
    assert [tile.index for tile in torn] == [(1, 2)]
    store.write(torn[0], pixels()[torn[0].core])
    assert store.missing(GRID) == []


def test_a_chunk_that_exists_is_done_even_if_it_is_all_nan(tmp_path: Path) -> None:
    store = TileStore(tmp_path / "s.zarr")
    store.create(GRID)
    tiles = list(GRID)
    assert store.missing(GRID) == tiles
    store.write(tiles[0], np.full(tiles[0].shape, np.nan, np.float32))
    store.write(tiles[4], np.ones(tiles[4].shape, np.float32))
    assert store.missing(GRID) == [tiles[1], tiles[2], tiles[3], tiles[5]]
    cores = [core for _, core in store.cores(GRID)]
    assert np.isnan(cores[0]).all()
    assert (cores[4] == 1).all()


@pytest.mark.parametrize("bands", [None, 3])
def test_chunks_in_a_folder_are_those_that_zarr_writes(tmp_path: Path, bands: int | None) -> None:
    store, other = (TileStore(tmp_path / name, bands) for name in ("ours.zarr", "theirs.zarr"))
    store.create(GRID)
    other.create(GRID)
    data = pixels() if bands is None else np.stack([pixels() + band for band in range(bands)])
    for tile in GRID:
        store.write(tile, data[..., *tile.core])
    zarr.open_array(other.location, mode="r+")[:] = data
    assert np.array_equal(store.open()[:], data, equal_nan=True)
    chunks = [path.relative_to(store.location) for path in Path(store.location).rglob("c/**/*")]
    files = [path for path in chunks if (Path(store.location) / path).is_file()]
    assert len(files) == len(GRID)
    for path in files:
        assert (Path(store.location) / path).read_bytes() == (
            Path(other.location) / path
        ).read_bytes()
    for tile in GRID:
        assert np.array_equal(other.read(tile), data[..., *tile.core], equal_nan=True)


def test_a_removed_store_is_made_anew(tmp_path: Path) -> None:
    """Also on another grid, although this process had the old one open."""
    store = TileStore(tmp_path / "s.zarr")
    first = next(iter(GRID))
    store.create(GRID)
    store.write(first, np.ones(first.shape, np.float32))
    shutil.rmtree(tmp_path / "s.zarr")
    assert not store.exists()
    finer = TileGrid(GRID.geobox, 64)
    store.create(finer)
    assert len(store.missing(finer)) == len(finer)
    tile = finer.tile(1, 1)
    store.write(tile, np.ones(tile.shape, np.float32))
    assert len(store.missing(finer)) == len(finer) - 1
    assert tile.index not in [each.index for each in store.missing(finer)]


def test_creating_again_keeps_what_is_done(tmp_path: Path) -> None:
    store = TileStore(tmp_path / "s.zarr")
    store.create(GRID)
    store.write(next(iter(GRID)), np.ones(next(iter(GRID)).shape, np.float32))
    store.create(GRID)
    assert len(store.missing(GRID)) == len(GRID) - 1


def test_a_store_of_another_grid_is_refused(tmp_path: Path) -> None:
    store = TileStore(tmp_path / "s.zarr")
    store.create(GRID)
    with pytest.raises(ValueError, match="another grid"):
        store.create(TileGrid(GRID.geobox, 64))


def test_cog_has_pixels_grid_and_tags(tmp_path: Path) -> None:
    data = pixels()
    path = tmp_path / "h.tif"
    write_cog(path, GRID.geobox, PROFILE, ((tile, data[tile.core]) for tile in GRID))
    assert cog_validate(path, quiet=True)[0]
    with rasterio.open(path) as raster:
        assert np.array_equal(raster.read(1), data, equal_nan=True)
        assert raster.crs.to_string() == UTM
        assert raster.transform == NORTH_UP
        assert np.isnan(raster.nodata)
        assert raster.tags()["WHO"] == "test"
        assert raster.descriptions == ("surprise",)
    assert [each.name for each in tmp_path.iterdir()] == ["h.tif"]


def test_bytes_do_not_depend_on_the_order_of_tiles(tmp_path: Path) -> None:
    data = pixels()
    digests = set()
    for number, tiles in enumerate((list(GRID), list(GRID)[::-1])):
        path = tmp_path / f"{number}.tif"
        write_cog(path, GRID.geobox, PROFILE, ((tile, data[tile.core]) for tile in tiles))
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def cores():
        for number, tile in enumerate(GRID):
            if number == 2:
                raise RuntimeError("power cut")
            yield tile, np.zeros(tile.shape, np.float32)

    with pytest.raises(RuntimeError, match="power cut"):
        write_cog(tmp_path / "h.tif", GRID.geobox, PROFILE, cores())
    assert list(tmp_path.iterdir()) == []


def test_where_no_tile_was_written_there_is_no_data_and_no_block(tmp_path: Path) -> None:
    """Nor where a tile is all nodata: the same bytes."""
    data = pixels()
    first = next(iter(GRID))
    whole = np.full_like(data, np.nan)
    whole[first.core] = data[first.core]
    sparse, full = tmp_path / "sparse.tif", tmp_path / "full.tif"
    write_cog(sparse, GRID.geobox, PROFILE, [(first, data[first.core])])
    write_cog(full, GRID.geobox, PROFILE, ((tile, whole[tile.core]) for tile in GRID))
    assert sparse.read_bytes() == full.read_bytes()
    assert cog_validate(sparse, quiet=True)[0]
    with rasterio.open(sparse) as raster:
        assert np.array_equal(raster.read(1), whole, equal_nan=True)
        assert raster.block_size(1, 0, 0) > 0
        with pytest.raises(rasterio.errors.RasterBlockError):
            raster.block_size(1, 0, 1)


@pytest.mark.parametrize("place", [(0, 0), (0, 2), (1, 1)])
def test_a_torn_file_is_seen_although_its_last_blocks_have_no_data(
    tmp_path: Path, place: tuple[int, int]
) -> None:
    grid = TileGrid(GeoBox((512, 768), NORTH_UP, UTM), 256)
    tile, path = grid.tile(*place), tmp_path / "h.tif"
    noise = np.random.default_rng(0).random(tile.shape, np.float32)
    write_cog(path, grid.geobox, PROFILE, [(tile, noise)])
    cog._check(path)
    path.write_bytes(path.read_bytes()[:-100_000])
    with pytest.raises(rasterio.errors.RasterioIOError):
        cog._check(path)
