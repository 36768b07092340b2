"""Polygons of groups of pixels, thousands at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
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


@dataclass(frozen=True)
class Traced:
    """Outlines before they are shapes, which are made once: their making costs most.

    number (parts,): of the group that a part belongs to, rising; points (n, 2): (column, row);
    rings, parts: where each ring begins among the points, each part among the rings, and the end.
    """

    number: Index
    points: NDArray[np.float64]
    rings: Index
    parts: Index

    def moved(self, shift: Index) -> Traced:
        """Each part by its own (columns, rows), (parts, 2)."""
        points = np.diff(self.rings[self.parts])
        return replace(self, points=self.points + np.repeat(shift, points, axis=0))

    def polygons(self, transform: Affine) -> Polygons:
        """Of each number one, on the map; of several parts if it has them."""
        a, b, c, d, e, f = transform[:6]
        points = self.points @ np.array([[a, d], [b, e]]) + (c, f)
        offsets = (self.rings, self.parts)
        made: Any = shapely.from_ragged_array(shapely.GeometryType.POLYGON, points, offsets)
        numbers, owner = np.unique(self.number, return_inverse=True)
        many = np.bincount(owner)[owner] > 1
        polygons = np.empty(len(numbers), dtype=object)
        polygons[owner[~many]] = made[~many]
        together, group = np.unique(owner[many], return_inverse=True)
        polygons[together] = shapely.multipolygons(made[many], indices=group)
        return polygons


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
        traced = trace(sheet)
        found[groups] = traced.moved(shift[::-1].T[traced.number - 1]).polygons(transform)
    return found


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


def trace(labels: NDArray[np.int32]) -> Traced:
    """What has a number above 0, each valid: parts that meet at a corner are parts."""
    # Rings of four-neighbours never touch themselves; those of eight would have to be cut.
    found = [
        (int(number), part["coordinates"])
        for part, number in shapes(labels, mask=labels > 0, connectivity=4, transform=_UPWARDS)
    ]
    found.sort(key=lambda each: each[0])
    rings = [ring for _, part in found for ring in part]
    axes = np.fromiter(chain.from_iterable(chain.from_iterable(rings)), np.float64)
    return Traced(
        np.array([number for number, _ in found], dtype=np.intp),
        axes.reshape(-1, 2) * (1, -1),
        _bounds([len(ring) for ring in rings]),
        _bounds([len(part) for _, part in found]),
    )


def _bounds(lengths: list[int]) -> Index:
    return np.cumsum([0, *lengths])
