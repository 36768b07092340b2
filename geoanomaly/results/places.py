"""From a heatmap's grid to what a map on the web speaks, and to square metres."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer
from rasterio.warp import transform_bounds

from geoanomaly.results.polygons import Polygons

Box = list[list[float]]
"""[[south, west], [north, east]], as Leaflet wants it."""


class Places:
    """From the heatmap's CRS to longitude and latitude (WGS 84).

    Without a CRS: column and minus row, because Leaflet's y grows upwards.
    """

    def __init__(self, crs: Any) -> None:
        self._to_degrees = crs and Transformer.from_crs(crs.to_wkt(), "EPSG:4326", always_xy=True)

    def points(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) in the CRS -> (n, 2) on the map."""
        if not self._to_degrees:
            return np.asarray(xy * (1, -1))
        return np.column_stack(self._to_degrees.transform(*xy.T))

    def pixel(self, x: float, y: float, transform: Affine) -> tuple[int, int]:
        """The (row, column) at a place on the map; it may lie outside the grid."""
        col, row = ~transform @ self.position(x, y)
        return int(np.floor(row)), int(np.floor(col))

    def position(self, x: float, y: float) -> tuple[float, float]:
        """A place on the map, in the CRS."""
        if not self._to_degrees:
            return x, -y
        x, y = self._to_degrees.transform(x, y, direction="INVERSE")
        return x, y

    def geometries(self, found: Polygons) -> Polygons:
        return np.asarray(shapely.transform(found, self.points))

    def areas(self, shown: Polygons) -> NDArray[np.float64]:
        """Geodesic areas in m2 of polygons on the map, right in every CRS; NaN without one."""
        if not self._to_degrees:
            return np.full(len(shown), np.nan)
        parts, owner = shapely.get_parts(shown, return_index=True)
        rings, part = shapely.get_rings(parts, return_index=True)
        # The first ring of a polygon is its outline, the others are its holes.
        sign = np.where(np.diff(part, prepend=-1), 1, -1)
        return np.bincount(owner[part], sign * _inside(rings), len(shown)).astype(float)


def _inside(rings: Polygons) -> NDArray[np.float64]:
    globe = Geod(ellps="WGS84")
    points, ring = shapely.get_coordinates(rings, return_index=True)
    ends = np.bincount(ring, minlength=len(rings)).cumsum()
    x, y = (np.split(axis, ends[:-1]) if len(rings) else [] for axis in points.T.copy())
    areas = [abs(globe.polygon_area_perimeter(*ring)[0]) for ring in zip(x, y, strict=True)]
    return np.array(areas, dtype=float)


def map_box(grid: GeoBox) -> Box:
    """A grid on the map; without a CRS it has the coordinates of `Places`."""
    if grid.crs is None:
        return [[-grid.shape[0], 0], [0, grid.shape[1]]]
    west, south, east, north = transform_bounds(
        grid.crs.to_wkt(), "EPSG:4326", *grid.boundingbox.bbox
    )
    return [[south, west], [north, east]]


def pixels_per_km2(grid: GeoBox) -> float | None:
    """On an equal-area grid; None without a CRS."""
    if grid.crs is None:
        return None
    area = grid.geographic_extent.to_crs("EPSG:6933").area / (grid.shape[0] * grid.shape[1])
    return float(1e6 / area)
