"""From a heatmap to polygons with their evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from geoanomaly.results.groups import STRIP, Groups, find_groups, in_groups, masks
from geoanomaly.results.places import Places
from geoanomaly.results.polygons import Pixels, Polygons, outlines
from geoanomaly.results.polygons import trace as trace_labels
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
        shapes = _outlines(raster, groups)
        areas = _areas(shapes, raster.crs)
    return [
        Anomaly(
            id=number + 1,
            geometry=shapes[number],
            top=(int(groups.row[number]), int(groups.col[number])),
            pixels=int(groups.pixels[number]),
            area_m2=areas[number],
            peak=float(groups.peak[number]),
            mean=float(groups.total[number] / groups.pixels[number]),
        )
        for number in range(len(groups))
    ]


def _outlines(mask: Any, groups: Groups) -> Polygons:
    found = np.empty(len(groups), dtype=object)
    for window, numbers in masks(mask, groups):
        transform = mask.window_transform(window)
        if window.height > 2 * STRIP:
            # Of one large group, whose pixels one by one would take more memory.
            traced = trace_labels(numbers)
            found[np.unique(traced.number) - 1] = traced.polygons(transform)
            continue
        inside = in_groups(numbers)
        inside = inside[np.argsort(numbers.flat[inside], kind="stable")]
        here, group = np.unique(numbers.flat[inside], return_inverse=True)
        rows, cols = np.divmod(inside, numbers.shape[1])
        found[here - 1] = outlines(Pixels(group, rows, cols), transform)
    return found


def _areas(shapes: Polygons, crs: Any) -> list[float | None]:
    """In m2; None without a CRS."""
    places = Places(crs)
    areas = places.areas(places.geometries(shapes)) if crs else [None] * len(shapes)
    return [area and float(area) for area in areas]
