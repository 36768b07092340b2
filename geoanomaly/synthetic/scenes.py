"""Scenes on disk: the one part of the generator that has side effects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.features import shapes
from rasterio.transform import Affine
from rasterio.warp import transform_geom

from geoanomaly.errors import ParameterError
from geoanomaly.synthetic import anomalies, clouds, layout, render
from geoanomaly.synthetic.anomalies import PlantedAnomaly, Truth
from geoanomaly.synthetic.noise import FloatMap
from geoanomaly.synthetic.spectra import BANDS

ORIGIN = (420_000.0, 5_430_000.0)
"""(easting, northing) of the upper left corner in metres: farmland, where it is UTM zone 33."""

SMALLEST = 96
"""Pixels a side; below that the five kinds of anomaly do not fit."""


@dataclass(frozen=True)
class ScenePair:
    """Two dates of one place and what happened between them.

    before, after: uint16 GeoTIFFs, bands B02 B03 B04 B08 B11 B12, reflectance times 10,000,
        nodata 0, on one grid.
    truth: uint8, 1 anomalous, 0 normal, 255 not judged (cloud, shadow, thin edges).
    truth_classes: uint8, 0, 255, or 1 + index into `KINDS`.
    polygons: GeoJSON (WGS 84) of the anomalies.
    """

    before: Path
    after: Path
    truth: Path
    truth_classes: Path
    polygons: Path
    anomalies: tuple[PlantedAnomaly, ...]


@dataclass(frozen=True)
class SingleScene:
    """One date with anomalies, and another place on the same date without any.

    scene, normal: as in `ScenePair`; truth, truth_classes, polygons: of `scene`.
    """

    scene: Path
    normal: Path
    truth: Path
    truth_classes: Path
    polygons: Path
    anomalies: tuple[PlantedAnomaly, ...]


@dataclass(frozen=True)
class _Grid:
    crs: CRS
    transform: Affine
    shape: tuple[int, int]

    @property
    def pixel_area(self) -> float:
        return abs(float(self.transform.determinant))


def generate(
    out: Path,
    *,
    size: int | tuple[int, int] = 1024,
    seed: int = 0,
    crs: str = "EPSG:32633",
    resolution: float = 10.0,
) -> ScenePair:
    """Write before.tif, after.tif, truth.tif, truth_classes.tif and truth.geojson below `out`.

    size: pixels a side, or (height, width); resolution: of a pixel in units of `crs`.
    The same arguments give the same bytes. Raises ParameterError for a size below
    `SMALLEST`. Before has a cloud, and lies 0.3 and -0.2 pixels off the after scene.
    """
    grid = _grid(size, crs, resolution)
    land = layout.plan(seed, grid.shape)
    events = anomalies.plant(land)
    sky = clouds.drift(land, events)
    truth = anomalies.judge(events, render.BLUR[0], sky.touched)
    out.mkdir(parents=True, exist_ok=True)
    before = _write_scene(
        out / "before.tif", grid, render.reflectance(land, render.JULY, (), sky), render.JULY
    )
    after = _write_scene(
        out / "after.tif", grid, render.reflectance(land, render.AUGUST, events), render.AUGUST
    )
    found = anomalies.describe(truth, grid.pixel_area)
    return ScenePair(before, after, *_write_truth(out, grid, truth), found)


def generate_single(
    out: Path,
    *,
    size: int | tuple[int, int] = 1024,
    seed: int = 0,
    crs: str = "EPSG:32633",
    resolution: float = 10.0,
) -> SingleScene:
    """Write scene.tif with its truth, and normal.tif: another place, same date, no anomaly.

    Arguments and errors as for `generate`; there is no cloud.
    """
    grid = _grid(size, crs, resolution)
    land = layout.plan(seed, grid.shape)
    events = anomalies.plant(land)
    truth = anomalies.judge(events, render.BLUR[0], np.zeros(grid.shape, bool))
    elsewhere = layout.plan(seed + 1_000_003, grid.shape)
    out.mkdir(parents=True, exist_ok=True)
    august = render.AUGUST
    scene = _write_scene(out / "scene.tif", grid, render.reflectance(land, august, events), august)
    normal = _write_scene(out / "normal.tif", grid, render.reflectance(elsewhere, august), august)
    found = anomalies.describe(truth, grid.pixel_area)
    return SingleScene(scene, normal, *_write_truth(out, grid, truth), found)


def _grid(size: int | tuple[int, int], crs: str, resolution: float) -> _Grid:
    shape = (size, size) if isinstance(size, int) else size
    if min(shape) < SMALLEST:
        raise ParameterError(
            f"A scene of {shape[0]} x {shape[1]} pixels is too small for all kinds of anomaly; "
            f"give at least {SMALLEST} pixels a side.",
            field="size",
        )
    transform = Affine(resolution, 0.0, ORIGIN[0], 0.0, -resolution, ORIGIN[1])
    return _Grid(CRS.from_user_input(crs), transform, shape)


def _write_scene(path: Path, grid: _Grid, image: FloatMap, acquisition: render.Acquisition) -> Path:
    """Reflectance (band, y, x) as digital numbers, 0 kept for nodata."""
    numbers = np.clip(np.round(image * 10_000), 1, 65_535).astype(np.uint16)
    with rasterio.open(path, "w", **_profile(grid, len(BANDS), "uint16", 0)) as file:
        file.write(numbers)
        file.descriptions = BANDS
        file.scales = (1e-4,) * len(BANDS)
        file.offsets = (0.0,) * len(BANDS)
        file.update_tags(TIFFTAG_DATETIME=acquisition.date.replace("-", ":") + " 10:00:00")
    return path


def _write_truth(out: Path, grid: _Grid, truth: Truth) -> tuple[Path, Path, Path]:
    """truth.tif, truth_classes.tif and truth.geojson."""
    judged = truth.classes != anomalies.NOT_JUDGED
    labels = np.where(judged, truth.classes > 0, anomalies.NOT_JUDGED).astype(np.uint8)
    paths = (out / "truth.tif", out / "truth_classes.tif", out / "truth.geojson")
    for path, values in zip(paths, (labels, truth.classes), strict=False):
        with rasterio.open(path, "w", **_profile(grid, 1, "uint8", anomalies.NOT_JUDGED)) as file:
            file.write(values, 1)
    paths[2].write_text(json.dumps(_geojson(grid, truth)), encoding="utf-8")
    return paths


def _geojson(grid: _Grid, truth: Truth) -> dict[str, Any]:
    """A feature for each connected part; RFC 7946 wants longitude and latitude."""
    parts = shapes(truth.number, mask=truth.number > 0, transform=grid.transform)
    features = [
        {
            "type": "Feature",
            "properties": {"id": int(number), "kind": truth.events[int(number) - 1].kind},
            "geometry": transform_geom(grid.crs, "EPSG:4326", geometry, precision=7),
        }
        for geometry, number in parts
    ]
    return {"type": "FeatureCollection", "features": features}


def _profile(grid: _Grid, count: int, dtype: str, nodata: int) -> dict[str, Any]:
    return {
        "driver": "GTiff",
        "height": grid.shape[0],
        "width": grid.shape[1],
        "count": count,
        "dtype": dtype,
        "nodata": nodata,
        "crs": grid.crs,
        "transform": grid.transform,
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
        "predictor": 2,
        "zlevel": 1,
    }
