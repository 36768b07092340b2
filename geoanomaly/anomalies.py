"""From a heatmap to polygons with their evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from pyproj import CRS, Geod, Transformer
from rasterio.features import shapes
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from geoanomaly.groups import Groups, find_groups, masks
from geoanomaly.types import Anomaly

MIN_PIXELS = 4
"""Smaller groups stay in the mask and are no polygons: at 1 % false alarms most are noise."""

MAX_ANOMALIES = 10_000


def trace(heatmap: Path, mask: Path) -> list[Anomaly]:
    """Connected groups (eight neighbours) of mask pixels, strongest evidence first.

    Ranked by the sum of surprise over the group, which holds both size and height.
    Reads both files strip by strip.
    """
    with rasterio.open(mask) as raster, rasterio.open(heatmap) as scores:
        groups = find_groups(raster, scores, smallest=MIN_PIXELS, count=MAX_ANOMALIES)
        outlines = _outlines(raster, groups)
        areas = _areas(outlines, raster.crs)
    return [
        Anomaly(
            id=number + 1,
            geometry=outlines[number],
            pixels=int(groups.pixels[number]),
            area_m2=areas[number],
            peak=float(groups.peak[number]),
            mean=float(groups.total[number] / groups.pixels[number]),
        )
        for number in range(len(groups))
    ]


def _outlines(mask: Any, groups: Groups) -> list[BaseGeometry]:
    found: dict[int, BaseGeometry] = {}
    for window, numbers in masks(mask, groups):
        transform = mask.window_transform(window)
        for geometry, value in shapes(
            numbers, mask=numbers > 0, connectivity=8, transform=transform
        ):
            found[int(value) - 1] = _valid(shape(geometry))
    return [found[number] for number in range(len(groups))]


def _valid(outline: BaseGeometry) -> BaseGeometry:
    """Pixels that meet at a corner only make a ring that touches itself: cut it there."""
    if outline.is_valid:
        return outline
    return shapely.make_valid(outline, method="structure", keep_collapsed=False)


def _areas(outlines: list[BaseGeometry], crs: Any) -> list[float | None]:
    """Geodesic areas in m2 on WGS 84, so that they are right in every CRS; None without one."""
    if crs is None:
        return [None] * len(outlines)
    to_degrees = Transformer.from_crs(CRS.from_wkt(crs.to_wkt()), "EPSG:4326", always_xy=True)
    lonlat = shapely.transform(
        outlines, lambda points: np.column_stack(to_degrees.transform(*points.T))
    )
    # Holes count as negative only where they run the other way.
    globe = Geod(ellps="WGS84")
    return [
        float(abs(globe.geometry_area_perimeter(outline)[0]))
        for outline in shapely.orient_polygons(lonlat)
    ]
