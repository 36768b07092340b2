"""Anomalies at any threshold, at the speed of a slider.

Only the pixels that could belong to an anomaly are kept: at a surprise of 1 one normal
pixel in ten. They are the nodes of a graph whose connected parts are the anomalies, so
that moving the threshold never reads the heatmap again. At a run's own threshold the
regions are the anomalies that it published (`geoanomaly.results.anomalies`), in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoanomaly.results import polygons
from geoanomaly.results.anomalies import MAX_ANOMALIES, MIN_PIXELS
from geoanomaly.results.places import Places
from geoanomaly.results.polygons import Pixels, Polygons

FLOOR = 1.0
"""No threshold below: there one normal pixel in ten would be an alarm."""

MAX_HOT = 20_000_000
"""Pixels kept, 240 MB; the floor of a heatmap with more of them is raised."""

_STRIP = 1024


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
    bounds: (minx, miny, maxx, maxy) in the heatmap's CRS.
    rows, cols (pixels,): where it is, the highest pixel first.
    """

    id: int
    top: tuple[int, int]
    peak: float
    mean: float
    bounds: tuple[float, ...]
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
    runs = _runs(place, value, hot.shape[1])
    label = _connected(runs, hot.shape[1])
    runs = runs[np.argsort(label, kind="stable")]
    first = np.flatnonzero(np.diff(np.sort(label), prepend=-1))
    pixels, total = (np.add.reduceat(each, first) for each in (runs.length, runs.total))
    bounds = _bounds(hot, runs, first)
    large = np.flatnonzero(pixels >= MIN_PIXELS)
    # numpy's last key is the first to count.
    ranked = large[np.lexsort((*bounds[large].T[::-1], -total[large]))][:MAX_ANOMALIES]
    inside, start = _pixels(runs, first, ranked)
    rows, cols = np.divmod(_highest_first(place[inside], value[inside], start), hot.shape[1])
    peak = np.maximum.reduceat(runs.peak, first)[ranked]
    return [
        Region(
            id=number + 1,
            top=(int(rows[start[number]]), int(cols[start[number]])),
            peak=float(peak[number]),
            mean=float(total[each] / pixels[each]),
            bounds=tuple(bounds[each].tolist()),
            rows=rows[start[number] : start[number + 1]],
            cols=cols[start[number] : start[number + 1]],
        )
        for number, each in enumerate(ranked)
    ]


@dataclass(frozen=True)
class _Runs:
    """Pixels side by side in a row, as a table: several times fewer than pixels.

    start: of the run among the pixels; place: of its first pixel on the grid.
    """

    start: NDArray[np.int64]
    place: NDArray[np.int64]
    length: NDArray[np.int64]
    total: NDArray[np.float64]
    peak: NDArray[np.float64]

    def __getitem__(self, chosen: NDArray[Any]) -> _Runs:
        return _Runs(*(getattr(self, each.name)[chosen] for each in fields(self)))


def _runs(place: NDArray[np.int64], value: NDArray[np.float64], width: int) -> _Runs:
    start = np.flatnonzero((np.diff(place, prepend=-2) != 1) | (place % width == 0))
    return _Runs(
        start,
        place[start],
        np.diff(start, append=len(place)),
        np.add.reduceat(value, start),
        np.maximum.reduceat(value, start),
    )


def _connected(runs: _Runs, width: int) -> NDArray[np.int32]:
    """Number of the region of each run: runs of neighbouring rows that meet, also at corners."""
    left = runs.place % width
    below = runs.place - left + width
    low = below + np.maximum(left - 1, 0)
    high = below + np.minimum(left + runs.length, width - 1)
    begin = np.searchsorted(runs.place + runs.length - 1, low)
    count = np.maximum(np.searchsorted(runs.place, high, side="right") - begin, 0)
    upper = np.repeat(np.arange(len(left)), count)
    lower = np.repeat(begin, count) + _counted(count)
    graph = coo_array((np.ones(len(upper), bool), (upper, lower)), shape=(len(left),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1])


def _counted(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, ... up to each count, one after the other."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def _bounds(hot: Hot, runs: _Runs, first: NDArray[np.intp]) -> NDArray[np.float64]:
    """(region, 4): minx, miny, maxx, maxy in the CRS."""
    row, left = np.divmod(runs.place, hot.shape[1])
    top, bottom = np.minimum.reduceat(row, first), np.maximum.reduceat(row, first) + 1
    west = np.minimum.reduceat(left, first)
    east = np.maximum.reduceat(left + runs.length, first)
    pixels: list[Any] = [(col, line) for line in (top, bottom) for col in (west, east)]
    x, y = (np.stack(part) for part in zip(*(hot.transform @ p for p in pixels), strict=True))
    return np.stack([x.min(axis=0), y.min(axis=0), x.max(axis=0), y.max(axis=0)], axis=1)


def _pixels(
    runs: _Runs, first: NDArray[np.intp], chosen: NDArray[np.intp]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indexes of the pixels of the chosen regions, region by region, and where each begins."""
    count = np.diff(first, append=len(runs.start))[chosen]
    picked = runs[np.repeat(first[chosen], count) + _counted(count)]
    inside = np.repeat(picked.start, picked.length) + _counted(picked.length)
    ends = np.append(0, np.cumsum(picked.length))[np.append(0, np.cumsum(count))]
    return inside, ends


def _highest_first(
    place: NDArray[np.int64], value: NDArray[np.float64], start: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The highest pixel of each region in its first place; of equal ones the first on the grid."""
    if len(start) < 2:
        return place
    owner = np.repeat(np.arange(len(start) - 1), np.diff(start))
    highest = np.flatnonzero(value == np.maximum.reduceat(value, start[:-1])[owner])
    top = highest[np.searchsorted(highest, start[:-1])]
    place[start[:-1]], place[top] = place[top], place[start[:-1]]
    return place


def outlines(found: Sequence[Region], transform: Affine) -> Polygons:
    """Their polygons in the heatmap's CRS."""
    if not found:
        return np.empty(0, dtype=object)
    group = np.repeat(np.arange(len(found)), [region.pixels for region in found])
    rows, cols = (np.concatenate([getattr(each, n) for each in found]) for n in ("rows", "cols"))
    return polygons.outlines(Pixels(group, rows, cols), transform)


def areas(hot: Hot, found: Sequence[Region]) -> NDArray[np.float64]:
    """Geodesic, in m2; NaN without a CRS.

    As many as its pixels of the pixels around the middle of a region: no outline is traced.
    """
    if not hot.crs or not found:
        return np.full(len(found), np.nan)
    middles: Any = np.array([(r.cols.mean() + 0.5, r.rows.mean() + 0.5) for r in found]).T
    middle = np.stack(hot.transform @ middles, axis=1)
    minx, miny, maxx, maxy = np.array([region.bounds for region in found]).T
    half = np.stack([maxx - minx, maxy - miny], axis=1) / 2
    places = Places(hot.crs)
    boxes: Any = shapely.box(*(middle - half).T, *(middle + half).T)
    per_unit = places.areas(places.geometries(boxes)) / (4 * half.prod(axis=1))
    pixels = np.array([region.pixels for region in found])
    return np.asarray(pixels * abs(hot.transform.determinant) * per_unit)


def centre(region: Region, transform: Affine) -> tuple[float, float]:
    """Where its highest pixel is, in the heatmap's CRS."""
    row, col = region.top
    x, y = transform @ (col + 0.5, row + 0.5)
    return float(x), float(y)
