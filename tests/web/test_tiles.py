"""Map tiles of a job's rasters."""

from __future__ import annotations

import io
import json
from typing import Any

import morecantile
import numpy as np
import pytest
from matplotlib.image import imread
from rasterio.warp import transform

from geoanomaly.results.legend import RAMP, coloured, coloured_png
from geoanomaly.types import Job, Process, Scene
from tests.web.backend import CRS, HOT, Backend, ground, write_raster
from tests.web.backend import transform as grid

ZOOM = 12


def place(row: float, col: float) -> tuple[float, float]:
    """Longitude and latitude of a pixel of the test rasters."""
    matrix = grid()
    x, y = matrix.c + col * matrix.a, matrix.f + row * matrix.e
    (lon,), (lat,) = transform(CRS, "EPSG:4326", [x], [y])
    return lon, lat


def pixels(backend: Backend, path: str) -> Any:
    response = backend.http.get(path)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    return np.round(imread(io.BytesIO(response.content)) * 255).astype(int)


def tile_pixel(backend: Backend, job: Job, layer: str, row: float, col: float) -> tuple[int, ...]:
    """The colour at a pixel of the raster, from the tile that has it."""
    tms = morecantile.tms.get("WebMercatorQuad")
    lon, lat = place(row, col)
    tile = tms.tile(lon, lat, ZOOM)
    address = f"/jobs/{job.id}/tiles/{layer}/tiles/WebMercatorQuad/{ZOOM}/{tile.x}/{tile.y}.png"
    picture = pixels(backend, address)
    bounds, point = tms.xy_bounds(tile), tms.xy(lon, lat)
    x = int((point.x - bounds.left) / (bounds.right - bounds.left) * picture.shape[1])
    y = int((bounds.top - point.y) / (bounds.top - bounds.bottom) * picture.shape[0])
    return tuple(int(value) for value in picture[y, x])


def test_the_hot_spot_has_the_colour_of_the_legend(backend: Backend, done: Job) -> None:
    middle = sum(HOT) / 2
    step = next(step for step in RAMP if step.low <= 4.5 < step.high)
    assert tile_pixel(backend, done, "heatmap", middle, middle) == step.colour
    assert tile_pixel(backend, done, "mask", middle, middle)[3] > 100


def test_ordinary_ground_and_nodata_are_transparent(backend: Backend, done: Job) -> None:
    assert tile_pixel(backend, done, "heatmap", 200, 200)[3] == 0
    assert tile_pixel(backend, done, "heatmap", 10, 150)[3] == 0
    assert tile_pixel(backend, done, "mask", 200, 200)[3] == 0


def test_a_tile_of_few_colours_has_the_colours_of_the_ramp() -> None:
    surprise = np.linspace(-1, 9, 64 * 64).reshape(64, 64).astype("float32")
    surprise[0, :3] = np.nan, np.inf, -np.inf
    drawn = np.round(imread(io.BytesIO(coloured_png(surprise))) * 255).astype(int)
    expected = coloured(surprise)
    seen = expected[..., 3] > 0
    assert seen.mean() > 0.5
    np.testing.assert_array_equal(drawn[..., 3], expected[..., 3])
    np.testing.assert_array_equal(drawn[seen], expected[seen])


def test_scenes_are_drawn_in_colour_without_any_parameter(backend: Backend, done: Job) -> None:
    red, green, blue, alpha = tile_pixel(backend, done, "after", 150, 150)
    assert alpha == 255
    assert 0 <= min(red, green, blue) < 256
    assert tile_pixel(backend, done, "before", 150, 150) != (red, green, blue, alpha)


def test_tilejson_leads_to_tiles(backend: Backend, done: Job) -> None:
    found = backend.http.get(f"/jobs/{done.id}/tiles/heatmap/WebMercatorQuad/tilejson.json").json()
    west, south, east, north = found["bounds"]
    lon, lat = place(150, 150)
    assert west < lon < east
    assert south < lat < north
    tile = morecantile.tms.get("WebMercatorQuad").tile(lon, lat, found["maxzoom"])
    address = found["tiles"][0].format(z=tile.z, x=tile.x, y=tile.y)
    assert backend.http.get(address).headers["content-type"] == "image/png"


def test_point_and_statistics_tell_values(backend: Backend, done: Job) -> None:
    middle = sum(HOT) / 2
    lon, lat = place(middle, middle)
    root = f"/jobs/{done.id}/tiles/heatmap"
    assert backend.http.get(f"{root}/point/{lon},{lat}").json()["values"] == [4.5]
    statistics = backend.http.get(f"{root}/statistics").json()
    assert next(iter(statistics.values()))["max"] == 4.5


def test_wmts_capabilities_name_the_tiles(backend: Backend, done: Job) -> None:
    response = backend.http.get(f"/jobs/{done.id}/tiles/heatmap/WMTSCapabilities.xml")
    assert response.status_code == 200
    address = f"/jobs/{done.id}/tiles/heatmap/tiles/WebMercatorQuad/{{TileMatrix}}"
    assert address in response.text


def test_a_preview_needs_no_crs(backend: Backend, plain: Job) -> None:
    picture = pixels(backend, f"/jobs/{plain.id}/tiles/heatmap/preview.png?max_size=150")
    assert picture.shape[:2] == (150, 150)
    assert picture[60, 60, 3] > 200
    assert picture[120, 20, 3] == 0


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("roof/info", 400),
        ("heatmap/tiles/WebMercatorQuad/12/0/0.png", 404),
        ("heatmap/point/0,0", 404),
        ("after/preview.png?bidx=99", 400),
        ("heatmap/tiles/WebMercatorQuad/12/2150/1430.png?tilesize=100000", 400),
        ("heatmap/preview.png?max_size=100000", 400),
        ("after/preview.png?rescale=x", 400),
        ("heatmap/tiles/WebMercatorQuad/12/2150/1430.exe", 400),
    ],
)
def test_wrong_requests_are_problems(backend: Backend, done: Job, path: str, status: int) -> None:
    response = backend.http.get(f"/jobs/{done.id}/tiles/{path}")
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"


def test_no_address_can_be_smuggled_in(backend: Backend, done: Job) -> None:
    root = f"/jobs/{done.id}/tiles/heatmap/info"
    honest = backend.http.get(root).json()
    assert backend.http.get(f"{root}?url=/etc/hostname").json() == honest


def test_a_raster_without_crs_has_no_tiles(backend: Backend, plain: Job) -> None:
    response = backend.http.get(f"/jobs/{plain.id}/tiles/heatmap/tiles/WebMercatorQuad/1/0/0.png")
    assert response.status_code == 400
    assert "no CRS" in response.json()["detail"]


def test_layers_that_are_not_there(backend: Backend, done: Job) -> None:
    waiting = backend.accept()
    response = backend.http.get(f"/jobs/{waiting.id}/tiles/heatmap/info")
    assert response.json()["type"].endswith("result-not-ready")
    assert backend.http.get(f"/jobs/{waiting.id}/tiles/after/info").status_code == 200
    single = backend.accept(process=Process.DETECT_ANOMALY, scenes=done.spec.scenes[1:])
    assert backend.http.get(f"/jobs/{single.id}/tiles/before/info").status_code == 404


def test_a_scene_outside_the_roots_is_not_shown(backend: Backend, tmp_path: Any) -> None:
    outside = write_raster(tmp_path / "private.tif", ground(9))
    job = backend.accept(process=Process.DETECT_ANOMALY, scenes=(Scene(str(outside)),))
    response = backend.http.get(f"/jobs/{job.id}/tiles/after/preview.png")
    assert response.status_code == 404
    assert str(tmp_path) not in json.dumps(response.json())
