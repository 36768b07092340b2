"""The scene of the picture that goes with a heatmap, taken tile by tile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from shapely.geometry import LineString, Point, Polygon, box

from geoanomaly.results.preview import scene_picture
from geoanomaly.scenes import thumbnail
from geoanomaly.scenes.areas import covered
from geoanomaly.scenes.inputs import Inputs, open_inputs
from geoanomaly.scenes.thumbnail import open_thumbnail
from geoanomaly.scoring import with_data
from geoanomaly.types import AOI, JobSpec, Process, Scene
from tests.rasters import NORTH_UP, UTM, texture, write_raster

TILE = 64


def scene(folder: Path, shape: tuple[int, int]) -> Path:
    data = (1000 + 100 * texture(1, 4, *shape)).astype(np.uint16)
    data[:, 20:40, 30:60] = 0
    return write_raster(folder / "scene.tif", data, nodata=0)


def opened(path: Path, area: AOI | None = None) -> Inputs:
    spec = JobSpec(Process.DETECT_ANOMALY, (Scene(str(path), sensor="rgbn"),), aoi=area)
    return open_inputs(spec)


def taken(inputs: Inputs, folder: Path, tile: int = TILE) -> np.ndarray:
    grid = inputs.tiles(tile, 8)
    found = open_thumbnail(inputs, grid, folder / "thumbnail.zarr")
    for each in grid:
        found.take(each)
    return found.pixels()


@pytest.mark.parametrize("side", [77, 40])
@pytest.mark.parametrize("shape", [(300, 200), (50, 900), (33, 33), (64, 128)])
def test_tile_by_tile_it_is_the_scene_from_afar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], side: int
) -> None:
    monkeypatch.setattr(thumbnail, "MAX_SIDE", side)
    path = scene(tmp_path, shape)
    found = taken(opened(path), tmp_path)
    assert 0.6 * side < max(found.shape[1:]) <= side or found.shape[1:] == shape
    with rasterio.open(path) as raster:
        whole = raster.read((1, 2, 3)).astype(np.float32)
    whole[:, whole[0] == 0] = np.nan
    # Every pixel is one of the scene, in each direction within a pixel of its own from its place.
    rows, cols = (
        (np.arange(small) + 0.5) * large / small
        for small, large in zip(found.shape[1:], shape, strict=True)
    )
    reach = [2 * large / small for small, large in zip(found.shape[1:], shape, strict=True)]
    for row, col in np.ndindex(found.shape[1:]):
        near = whole[
            :,
            max(int(rows[row] - reach[0]), 0) : int(rows[row] + reach[0]) + 1,
            max(int(cols[col] - reach[1]), 0) : int(cols[col] + reach[1]) + 1,
        ].reshape(3, -1)
        same = np.isclose(near, found[:, row, col, None], equal_nan=True).all(axis=0)
        assert same.any()


def test_full_tiles_are_as_gdal_shrinks_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnail, "MAX_SIDE", 64)
    path = scene(tmp_path, (4 * TILE, 3 * TILE))
    found = taken(opened(path), tmp_path)
    assert found.shape == (3, 64, 48)
    with rasterio.open(path) as raster:
        wanted = raster.read((1, 2, 3), out_shape=found.shape, resampling=Resampling.nearest)
        valid = raster.read_masks(1, out_shape=found.shape[1:], resampling=Resampling.nearest)
    assert np.array_equal(np.isnan(found[0]), valid == 0)
    assert np.array_equal(found[:, valid > 0], wanted[:, valid > 0])
    white = (scene_picture(found) == 255).all(axis=2)
    assert white[valid == 0].all()
    assert white.mean() < 0.2


def test_of_an_area_every_pixel(tmp_path: Path) -> None:
    path = scene(tmp_path, (200, 220))
    (left, top), (right, bottom) = NORTH_UP @ (7, 11), NORTH_UP @ (207, 191)
    triangle = box(left, bottom, right, top).intersection(
        box(left, bottom, right, top).exterior.interpolate(0).buffer(1500)
    )
    inputs = opened(path, AOI(triangle, UTM))
    rows, cols = inputs.clip.rows, inputs.clip.cols
    found = taken(inputs, tmp_path)
    with rasterio.open(path) as raster:
        whole = raster.read((1, 2, 3)).astype(np.float32)[:, rows, cols]
    whole[:, whole[0] == 0] = np.nan
    # So small that it is not shrunk. What was not looked at must not look ordinary.
    inside = covered(triangle.buffer(10), inputs.geobox)
    assert not inside.all()
    whole[:, ~inside] = np.nan
    assert np.array_equal(found, whole, equal_nan=True)


def test_what_a_killed_job_has_taken_is_there_for_the_next(tmp_path: Path) -> None:
    inputs = opened(scene(tmp_path, (200, 220)))
    grid = inputs.tiles(TILE, 8)
    tiles = list(grid)
    for part in (tiles[:5], tiles[5:]):
        found = open_thumbnail(inputs, grid, tmp_path / "thumbnail.zarr")
        for tile in part:
            found.take(tile)
    assert np.array_equal(found.pixels(), taken(inputs, tmp_path / "other"), equal_nan=True)


def test_a_part_that_a_power_cut_left_torn_stays_white(tmp_path: Path) -> None:
    inputs = opened(scene(tmp_path, (200, 220)))
    wanted = taken(inputs, tmp_path)
    chunk = tmp_path / "thumbnail.zarr" / "c" / "0" / "1" / "2"
    chunk.write_bytes(bytes(100))
    found = open_thumbnail(inputs, inputs.tiles(TILE, 8), tmp_path / "thumbnail.zarr").pixels()
    torn = (slice(None), slice(TILE, 2 * TILE), slice(2 * TILE, 3 * TILE))
    assert np.isfinite(wanted[torn]).all()
    assert np.isnan(found[torn]).all()
    found[torn] = wanted[torn]
    assert np.array_equal(found, wanted, equal_nan=True)


def test_it_ends_where_the_area_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a pixel of its own, whatever tiles are passed over; a narrow area is seen whole."""
    monkeypatch.setattr(thumbnail, "MAX_SIDE", 64)
    path = scene(tmp_path, (4 * TILE, 4 * TILE))
    bounds = opened(path).geobox.boundingbox
    corner = Polygon([(bounds.left, bounds.bottom), (bounds.left, bounds.top),
                      (bounds.right, bounds.bottom)])  # fmt: skip
    line = LineString([(bounds.left, bounds.bottom), (bounds.right, bounds.top)]).buffer(5)
    for number, area in enumerate((corner, line)):
        inputs = opened(path, AOI(area, UTM))
        grid = inputs.tiles(TILE, 8)
        found = open_thumbnail(inputs, grid, tmp_path / f"{number}.zarr")
        for tile in with_data(inputs, grid):
            found.take(tile)
        pixels, own = found.pixels(), found.grid.geobox
        pitch = own.resolution.x
        for row, col in np.ndindex(*own.shape):
            x, y = own.affine @ (col + 0.5, row + 0.5)
            away = area.distance(Point(x, y))
            if away > 1.01 * pitch:
                assert np.isnan(pixels[:, row, col]).all()
        seen = np.isfinite(pixels[0])
        assert seen.any(axis=0).all()
        assert seen.any(axis=1).all()
