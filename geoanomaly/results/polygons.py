"""Polygons of groups of pixels, thousands at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import shapes

SHEET, SHEET_WIDTH = 4_000_000, 2048
"""Pixels of a sheet on which groups are traced together, and its width."""

_UPWARDS = Affine.scale(1, -1)
"""rasterio warns of an identity; this is the next best."""

Polygons = NDArray[np.object_]
Index = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Pixels:
    """Pixels of connected groups (eight neighbours). group rises from 0 and leaves none out."""

    group: Index
    row: Index
    col: Index


def outlines(pixels: Pixels, transform: Affine) -> Polygons:
    """The polygon of each group on the map, valid: parts that meet at a corner are parts.

    GDAL's start for each would take a millisecond, so groups are traced together on sheets.
    """
    starts = np.flatnonzero(np.diff(pixels.group, prepend=-1))
    ends = np.append(starts[1:], len(pixels.group))
    axes = (pixels.row, pixels.col)
    corners = np.stack([np.minimum.reduceat(each, starts) for each in axes])
    beyond = np.stack([np.maximum.reduceat(each, starts) for each in axes]) + 1
    found = np.empty(len(starts), dtype=object)
    for groups, places in _sheets(beyond - corners):
        shift = corners[:, groups] - places
        inside = np.concatenate([np.arange(starts[n], ends[n]) for n in groups])
        owner = np.repeat(np.arange(len(groups)), ends[groups] - starts[groups])
        rows, cols = pixels.row[inside] - shift[0, owner], pixels.col[inside] - shift[1, owner]
        sheet = np.zeros((int(rows.max()) + 1, int(cols.max()) + 1), np.int32)
        sheet[rows, cols] = owner + 1
        _, traced = trace(sheet)
        found[groups] = _moved(traced, shift[::-1].T)
    return mapped(found, transform)


def _sheets(sizes: Index) -> Iterator[tuple[Index, Index]]:
    """Groups of (height, width), and the (row, column) of each: in shelves, a pixel apart."""
    height, width = sizes
    groups: list[int] = []
    places: list[tuple[int, int]] = []
    row = col = shelf = 0
    for group in np.lexsort((-width, -height)):
        if col and col + width[group] > SHEET_WIDTH:
            row, col, shelf = row + shelf + 1, 0, 0
        if groups and (row + height[group]) * SHEET_WIDTH > SHEET:
            yield np.array(groups), np.array(places).T
            groups, places, row, col, shelf = [], [], 0, 0, 0
        groups.append(int(group))
        places.append((row, col))
        col, shelf = col + int(width[group]) + 1, max(shelf, int(height[group]))
    if groups:
        yield np.array(groups), np.array(places).T


def trace(labels: NDArray[np.int32]) -> tuple[Index, Polygons]:
    """The numbers above 0 in rising order, and the valid polygon of each in (column, row)."""
    # Rings of four-neighbours never touch themselves; those of eight would have to be cut.
    found = [
        (int(number), part["coordinates"])
        for part, number in shapes(labels, mask=labels > 0, connectivity=4, transform=_UPWARDS)
    ]
    found.sort(key=lambda each: each[0])
    numbers, owner = np.unique([number for number, _ in found], return_inverse=True)
    parts = shapely.transform(_polygons([rings for _, rings in found]), lambda xy: xy * (1, -1))
    many = np.bincount(owner)[owner] > 1
    polygons = np.empty(len(numbers), dtype=object)
    polygons[owner[~many]] = parts[~many]
    together, group = np.unique(owner[many], return_inverse=True)
    polygons[together] = shapely.multipolygons(parts[many], indices=group)
    return numbers, polygons


def _polygons(parts: Sequence[Any]) -> Polygons:
    """GeoJSON coordinates of polygons, all at once."""
    rings = [(owner, ring) for owner, part in enumerate(parts) for ring in part]
    if not rings:
        return np.empty(0, dtype=object)
    made: Any = shapely.linearrings(
        np.concatenate([ring for _, ring in rings]),
        indices=np.repeat(np.arange(len(rings)), [len(ring) for _, ring in rings]),
    )
    return np.asarray(shapely.polygons(made, indices=[owner for owner, _ in rings]))


def _moved(polygons: Polygons, shifts: Index) -> Polygons:
    """Each by its own (x, y)."""
    points, owner = shapely.get_coordinates(polygons, return_index=True)
    return np.asarray(shapely.set_coordinates(polygons, points + shifts[owner]))


def mapped(polygons: Polygons, transform: Affine) -> Polygons:
    """From (column, row) to the CRS."""
    a, b, c, d, e, f = transform[:6]
    linear, origin = np.array([[a, d], [b, e]]), (c, f)
    return np.asarray(shapely.transform(polygons, lambda points: points @ linear + origin))
