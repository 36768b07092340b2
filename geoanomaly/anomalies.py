"""From a heatmap to polygons with their evidence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from pyproj import CRS, Geod, Transformer
from rasterio.features import geometry_mask, shapes
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from geoanomaly.types import Anomaly

MIN_PIXELS = 4
"""Smaller groups stay in the mask and are no polygons: at 1 % false alarms most are noise."""

MAX_ANOMALIES = 10_000


def trace(heatmap: Path, mask: Path) -> list[Anomaly]:
    """Connected groups (eight neighbours) of mask pixels, strongest evidence first.

    Ranked by the sum of surprise over the group, which holds both size and height.
    Reads both files window by window.
    """
    with rasterio.open(mask) as raster, rasterio.open(heatmap) as scores:
        found = [_measure(geometry, scores) for geometry in _outlines(raster)]
    found.sort(key=lambda each: (-each.mean * each.pixels, each.bbox))
    return [_numbered(number, each) for number, each in enumerate(found[:MAX_ANOMALIES], start=1)]


def _numbered(number: int, each: Anomaly) -> Anomaly:
    return Anomaly(number, each.geometry, each.pixels, each.area_m2, each.peak, each.mean)


def _outlines(mask: Any) -> Iterator[BaseGeometry]:
    """Outlines of the groups that have at least `MIN_PIXELS` pixels; GDAL streams over lines."""
    band = rasterio.band(mask, 1)
    smallest = MIN_PIXELS * abs(mask.transform.determinant)
    for geometry, value in shapes(band, connectivity=8, transform=mask.transform):
        if value == 1:
            outline = shape(geometry)
            if outline.area > smallest * (1 - 1e-6):
                yield _valid(outline)


def _valid(outline: BaseGeometry) -> BaseGeometry:
    """Pixels that meet at a corner only make a ring that touches itself: cut it there."""
    if outline.is_valid:
        return outline
    return shapely.make_valid(outline, method="structure", keep_collapsed=False)


def _measure(geometry: BaseGeometry, scores: Any) -> Anomaly:
    window = rasterio.windows.from_bounds(*_upright(geometry.bounds, scores.transform))
    window = window.round_offsets().round_lengths(op="ceil")
    values = scores.read(1, window=window)
    transform = scores.window_transform(window)
    inside = geometry_mask([geometry], values.shape, transform, invert=True) & np.isfinite(values)
    chosen = values[inside].astype(np.float64)
    return Anomaly(
        id=0,
        geometry=geometry,
        pixels=int(chosen.size),
        area_m2=_area(geometry, scores.crs),
        peak=float(chosen.max()),
        mean=float(chosen.mean()),
    )


def _upright(
    bounds: tuple[float, ...], transform: Affine
) -> tuple[float, float, float, float, Affine]:
    """Arguments for `from_bounds`, also where rows run upwards."""
    left, bottom, right, top = bounds
    if transform.e > 0:
        bottom, top = top, bottom
    return left, bottom, right, top, transform


def _area(geometry: BaseGeometry, crs: Any) -> float | None:
    """Geodesic area in m2 on WGS 84, so that it is right in every CRS; None without one."""
    if crs is None:
        return None
    to_degrees = Transformer.from_crs(CRS.from_wkt(crs.to_wkt()), "EPSG:4326", always_xy=True)
    lonlat = shapely.transform(
        geometry, lambda points: np.column_stack(to_degrees.transform(*points.T))
    )
    # Holes count as negative only where they run the other way.
    area, _ = Geod(ellps="WGS84").geometry_area_perimeter(shapely.orient_polygons(lonlat))
    return float(abs(area))
