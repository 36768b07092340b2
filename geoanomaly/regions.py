"""Anomalies at any threshold, at the speed of a slider.

Only the pixels that could belong to an anomaly are kept: at a surprise of 1 one normal
pixel in ten. They are the nodes of a graph whose connected parts are the anomalies, so
that moving the threshold never reads the heatmap again. At a run's own threshold the
regions are the anomalies that it published (`geoanomaly.anomalies`), in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoanomaly import polygons
from geoanomaly.anomalies import MAX_ANOMALIES, MIN_PIXELS
from geoanomaly.polygons import Pixels, Polygons

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
    pixels: list[Any] = [(col, row) for row in (top, bottom) for col in (left, right)]
    corners = [transform @ pixel for pixel in pixels]
    x, y = (np.stack(part) for part in zip(*corners, strict=True))
    return x.min(axis=0), y.min(axis=0), x.max(axis=0), y.max(axis=0)


def outlines(found: Sequence[Region], transform: Affine) -> Polygons:
    """Their polygons in the heatmap's CRS."""
    if not found:
        return np.empty(0, dtype=object)
    group = np.repeat(np.arange(len(found)), [region.pixels for region in found])
    rows, cols = (np.concatenate([getattr(each, n) for each in found]) for n in ("rows", "cols"))
    return polygons.outlines(Pixels(group, rows, cols), transform)


def centre(region: Region, transform: Affine) -> tuple[float, float]:
    """Where its highest pixel is, in the heatmap's CRS."""
    row, col = region.top
    x, y = transform @ (col + 0.5, row + 0.5)
    return float(x), float(y)
