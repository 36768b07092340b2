"""Anomalies at any threshold, at the speed of a slider.

Only the pixels that could belong to an anomaly are kept: at a surprise of 1 one normal
pixel in ten. They are the nodes of a graph whose connected parts are the anomalies, so
that moving the threshold never reads the heatmap again. At a run's own threshold the
regions are the anomalies that it published (`geoanomaly.anomalies`), in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import Geod, Transformer
from rasterio.features import shapes
from rasterio.windows import Window
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely.geometry.base import BaseGeometry

from geoanomaly.anomalies import MAX_ANOMALIES, MIN_PIXELS

FLOOR = 1.0
"""No threshold below: there one normal pixel in ten would be an alarm."""

MAX_HOT = 20_000_000
"""Pixels kept, 240 MB; the floor of a heatmap with more of them is raised."""

_STRIP = 1024
_SHEET, _SHEET_WIDTH = 1_000_000, 2048
_UPWARDS = Affine.scale(1, -1)
"""rasterio warns of an identity; this is the next best."""


@dataclass(frozen=True)
class Hot:
    """The pixels of a heatmap that reach the floor, in row-major order.

    place (pixels,): row * width + column; surprise float32 (pixels,).
    valid: pixels of the heatmap that have a value; crs: rasterio's, None on a pixel grid.
    """

    shape: tuple[int, int]
    transform: Affine
    crs: Any
    floor: float
    place: NDArray[np.int64]
    surprise: NDArray[np.float32]
    valid: int

    @property
    def highest(self) -> float:
        """The greatest surprise of the heatmap; the floor where nothing reaches it."""
        return float(self.surprise.max()) if self.surprise.size else self.floor


@dataclass(frozen=True)
class Region:
    """A connected group (eight neighbours) of pixels above a threshold.

    top: (row, column) of its highest pixel, which stays the same while the threshold
        moves, as long as the region is not joined to a higher one.
    rows, cols (pixels,): where it is.
    """

    id: int
    top: tuple[int, int]
    peak: float
    mean: float
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]

    @property
    def pixels(self) -> int:
        return len(self.rows)

    @property
    def key(self) -> str:
        """Names the place, at whatever threshold: ROW-COLUMN of the highest pixel."""
        return f"{self.top[0]}-{self.top[1]}"


def hot_pixels(heatmap: Path) -> Hot:
    """Read a heatmap once, strip by strip."""
    floor, valid = FLOOR, 0
    kept: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
    with rasterio.open(heatmap) as raster:
        height, width = raster.shape
        for row in range(0, height, _STRIP):
            values = raster.read(1, window=Window(0, row, width, min(_STRIP, height - row)))
            valid += int(np.isfinite(values).sum())
            inside = np.flatnonzero(values >= floor)
            kept.append((inside + row * width, values.reshape(-1)[inside]))
            while sum(len(place) for place, _ in kept) > MAX_HOT:
                floor += 0.25
                kept = [(place[v >= floor], v[v >= floor]) for place, v in kept]
        transform, crs = raster.transform, raster.crs
    place, surprise = (np.concatenate(part) for part in zip(*kept, strict=True))
    return Hot((height, width), transform, crs, floor, place, surprise.astype(np.float32), valid)


def regions(hot: Hot, threshold: float) -> list[Region]:
    """All regions of at least `MIN_PIXELS` pixels, those with most evidence first.

    Ranked by the sum of surprise, and numbered from 1; at most `MAX_ANOMALIES`.
    """
    kept = hot.surprise >= threshold
    place, value = hot.place[kept], hot.surprise[kept].astype(np.float64)
    if not place.size:
        return []
    label = _connected(place, hot.shape[1])
    # Within each region the highest pixel first, of equal ones the first on the grid.
    order = np.lexsort((place, -value, label))
    place, value, label = place[order], value[order], label[order]
    start = np.flatnonzero(np.diff(label, prepend=-1))
    count = np.diff(start, append=len(label))
    total = np.add.reduceat(value, start)
    rows, cols = np.divmod(place, hot.shape[1])
    large = np.flatnonzero(count >= MIN_PIXELS)
    corners = _corners(hot.transform, rows, cols, start)
    # numpy's last key is the first to count.
    ranked = large[np.lexsort((*(each[large] for each in corners[::-1]), -total[large]))]
    return [
        Region(
            id=number,
            top=(int(rows[start[each]]), int(cols[start[each]])),
            peak=float(value[start[each]]),
            mean=float(total[each] / count[each]),
            rows=rows[start[each] : start[each] + count[each]],
            cols=cols[start[each] : start[each] + count[each]],
        )
        for number, each in enumerate(ranked[:MAX_ANOMALIES], start=1)
    ]


def _connected(place: NDArray[np.int64], width: int) -> NDArray[np.int32]:
    """Number of the region of each pixel; place is sorted."""
    column = place % width
    pairs = []
    for step, edge in ((1, width - 1), (width - 1, 0), (width, -1), (width + 1, width - 1)):
        # A step to the right from the last column, or to the left from the first, leaves the grid.
        source = np.flatnonzero(column != edge)
        found = np.searchsorted(place, place[source] + step)
        there = found < len(place)
        source, found = source[there], found[there]
        same = place[found] == place[source] + step
        pairs.append((source[same], found[same]))
    row, col = (np.concatenate(part) for part in zip(*pairs, strict=True))
    graph = coo_array((np.ones(len(row), bool), (row, col)), shape=(len(place),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1])


def _corners(
    transform: Affine, rows: NDArray[np.int64], cols: NDArray[np.int64], start: NDArray[np.intp]
) -> tuple[NDArray[np.float64], ...]:
    """minx, miny, maxx, maxy of each region, in the CRS."""
    top, bottom = np.minimum.reduceat(rows, start), np.maximum.reduceat(rows, start) + 1
    left, right = np.minimum.reduceat(cols, start), np.maximum.reduceat(cols, start) + 1
    corners = [_map(transform, col, row) for row in (top, bottom) for col in (left, right)]
    x, y = (np.stack(part) for part in zip(*corners, strict=True))
    return x.min(axis=0), y.min(axis=0), x.max(axis=0), y.max(axis=0)


def _map(transform: Affine, col: Any, row: Any) -> tuple[Any, Any]:
    """Pixel coordinates, also arrays of them, in the CRS."""
    return (
        transform.c + transform.a * col + transform.b * row,
        transform.f + transform.d * col + transform.e * row,
    )


def outlines(found: Sequence[Region], transform: Affine) -> list[BaseGeometry]:
    """Their polygons in the heatmap's CRS.

    GDAL's start for each would take a millisecond, so many small ones are traced on one sheet.
    """
    traced: dict[int, BaseGeometry] = {}
    small = [region for region in found if _extent(region) <= _SHEET]
    for sheet in _sheets(small):
        traced.update(_trace(sheet, transform))
    for region in found:
        if _extent(region) > _SHEET:
            traced.update(_trace([(region, 0, 0)], transform))
    return [traced[region.id] for region in found]


Placed = tuple[Region, int, int]
"""A region, and the row and column of its upper left pixel on a sheet."""


def _size(region: Region) -> tuple[int, int]:
    height = int(region.rows.max() - region.rows.min()) + 1
    return height, int(region.cols.max() - region.cols.min()) + 1


def _extent(region: Region) -> int:
    height, width = _size(region)
    return height * width


def _sheets(found: Sequence[Region]) -> Iterator[list[Placed]]:
    """Regions in shelves from left to right, a pixel apart, the tallest first."""
    placed: list[Placed] = []
    row = col = shelf = 0
    for region in sorted(found, key=_size, reverse=True):
        height, width = _size(region)
        if col and col + width > _SHEET_WIDTH:
            row, col, shelf = row + shelf + 1, 0, 0
        if row * _SHEET_WIDTH > 4 * _SHEET:
            yield placed
            placed, row, col, shelf = [], 0, 0, 0
        placed.append((region, row, col))
        col, shelf = col + width + 1, max(shelf, height)
    if placed:
        yield placed


def _trace(placed: Sequence[Placed], transform: Affine) -> dict[int, BaseGeometry]:
    """Polygons by the number of the region."""
    sizes = [_size(region) for region, _, _ in placed]
    height = max(row + size[0] for (_, row, _), size in zip(placed, sizes, strict=True))
    width = max(col + size[1] for (_, _, col), size in zip(placed, sizes, strict=True))
    sheet = np.zeros((height, width), np.int32)
    offsets = {}
    for region, row, col in placed:
        top, left = int(region.rows.min()) - row, int(region.cols.min()) - col
        sheet[region.rows - top, region.cols - left] = region.id
        offsets[region.id] = (left, top)
    parts = [
        (int(value), part["coordinates"])
        for part, value in shapes(sheet, mask=sheet > 0, connectivity=8, transform=_UPWARDS)
    ]
    polygons = _polygons([rings for _, rings in parts])
    coordinates, owner = shapely.get_coordinates(polygons, return_index=True)
    coordinates = coordinates * (1, -1) + np.array([offsets[n] for n, _ in parts])[owner]
    polygons = shapely.set_coordinates(
        polygons, np.column_stack(_map(transform, coordinates[:, 0], coordinates[:, 1]))
    )
    # Pixels that meet at a corner only make a ring that touches itself: cut it there.
    bad = ~shapely.is_valid(polygons)
    polygons[bad] = shapely.make_valid(polygons[bad], method="structure", keep_collapsed=False)
    return {number: polygon for (number, _), polygon in zip(parts, polygons, strict=True)}


def _polygons(parts: Sequence[Any]) -> NDArray[np.object_]:
    """GeoJSON coordinates of polygons, all at once."""
    rings = [(owner, ring) for owner, part in enumerate(parts) for ring in part]
    lengths = [len(ring) for _, ring in rings]
    made: Any = shapely.linearrings(
        np.concatenate([ring for _, ring in rings]),
        indices=np.repeat(np.arange(len(rings)), lengths),
    )
    return np.asarray(shapely.polygons(made, indices=[owner for owner, _ in rings]))


def centre(region: Region, transform: Affine) -> tuple[float, float]:
    """Where its highest pixel is, in the heatmap's CRS."""
    row, col = region.top
    x, y = _map(transform, col + 0.5, row + 0.5)
    return float(x), float(y)


class Places:
    """From the heatmap's CRS to what a map on the web speaks: longitude and latitude (WGS 84).

    Without a CRS: column and minus row, because Leaflet's y grows upwards.
    """

    def __init__(self, crs: Any) -> None:
        self._to_degrees = crs and Transformer.from_crs(crs.to_wkt(), "EPSG:4326", always_xy=True)
        self._geod = Geod(ellps="WGS84")

    def points(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) in the CRS -> (n, 2) on the map."""
        if not self._to_degrees:
            return np.asarray(xy * (1, -1))
        return np.column_stack(self._to_degrees.transform(*xy.T))

    def pixel(self, x: float, y: float, transform: Affine) -> tuple[int, int]:
        """The (row, column) at a place on the map; it may lie outside the grid."""
        if self._to_degrees:
            x, y = self._to_degrees.transform(x, y, direction="INVERSE")
        else:
            y = -y
        inverse = ~transform
        col, row = _map(inverse, x, y)
        return int(np.floor(row)), int(np.floor(col))

    def geometries(self, found: Sequence[BaseGeometry]) -> list[BaseGeometry]:
        return list(shapely.transform(np.array(found, dtype=object), self.points))

    def area(self, geometry: BaseGeometry) -> float | None:
        """Geodesic area in m2 of a geometry on the map; None without a CRS."""
        if not self._to_degrees:
            return None
        # Holes count as negative only where they run the other way.
        area, _ = self._geod.geometry_area_perimeter(shapely.orient_polygons(geometry))
        return float(abs(area))
