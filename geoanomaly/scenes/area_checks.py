"""Polygons of strangers: counted before they are built, checked, and repaired where that is asked.

An outline that crosses itself has no inside that all readers agree on, so it is refused
with the place, or repaired by the rule that every part it goes around belongs to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import ProjError
from shapely import make_valid, transform
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union
from shapely.validation import explain_validity

from geoanomaly.errors import AreaError, CrossingAreaError

MAX_VERTICES = 100_000
"""What a detailed map of a country has. Each tile of a job goes over all of them."""

DEPTHS = {"Polygon": 2, "MultiPolygon": 3}
"""Lists around a position."""


def check_size(data: Any, *, field: str) -> int:
    """How many positions a GeoJSON value has in its polygons; AreaError where it is too many."""
    counted = sum(_positions(each) for each in _geometries(data))
    if counted > MAX_VERTICES:
        raise too_many(counted, field)
    return counted


def too_many(counted: int, field: str) -> AreaError:
    return AreaError(
        f"The area has {counted:,} vertices; the limit is {MAX_VERTICES:,}. Simplify it "
        "(QGIS: Vector geometry, Simplify).",
        field=field,
    )


def _geometries(data: Any) -> Sequence[Any]:
    """What is no GeoJSON has none: who builds it says so."""
    if not isinstance(data, dict):
        return ()
    features = data.get("features") if data.get("type") == "FeatureCollection" else [data]
    if not isinstance(features, list):
        return ()
    return [
        each.get("geometry") if each.get("type") == "Feature" else each
        for each in features
        if isinstance(each, dict)
    ]


def _positions(geometry: Any) -> int:
    if not isinstance(geometry, dict):
        return 0
    level: list[Any] = [geometry.get("coordinates")]
    for _ in range(DEPTHS.get(str(geometry.get("type")), 0)):
        level = [each for part in level if isinstance(part, list) for each in part]
    return len(level)


def check_polygon(geometry: BaseGeometry | None, field: str, *, valid: bool = True) -> BaseGeometry:
    """The same geometry, a polygon with finite coordinates. valid: it must not cross itself."""
    if geometry is None or geometry.is_empty:
        raise AreaError("The area is empty. Give a polygon.", field=field)
    if geometry.geom_type not in ("Polygon", "MultiPolygon"):
        raise AreaError(
            f"The area is a {geometry.geom_type}. Give a Polygon or MultiPolygon.", field=field
        )
    if not np.isfinite(geometry.bounds).all():
        raise AreaError("The area has coordinates that are not numbers.", field=field)
    if valid and not geometry.is_valid:
        raise CrossingAreaError(
            f"The area is not valid: {explain_validity(geometry)}. Draw it so that no edge crosses "
            "another, or ask for its repair (repair, --repair).",
            field=field,
        )
    return geometry


def joined(parts: Sequence[BaseGeometry], field: str) -> BaseGeometry:
    """One geometry of all polygons."""
    for part in parts:
        check_polygon(part, field)
    return parts[0] if len(parts) == 1 else unary_union(list(parts))


def repaired(geometry: BaseGeometry, crs: str, *, field: str) -> tuple[BaseGeometry, str]:
    """A valid geometry, and what was done in words: "" where it was valid.

    Each outline keeps what it goes around; lines without an area are dropped.
    """
    check_polygon(geometry, field, valid=False)
    if geometry.is_valid:
        return geometry, ""
    place = explain_validity(geometry)
    found = make_valid(geometry, method="structure", keep_collapsed=False)
    parts = getattr(found, "geoms", [found])
    kept = [part for part in parts if isinstance(part, Polygon) and not part.is_empty]
    if not kept:
        raise AreaError(f"The area has no inside ({place}). Draw it anew.", field=field)
    whole = kept[0] if len(kept) == 1 else MultiPolygon(kept)
    before, after = _areas(geometry, crs), _areas(whole, crs)
    change = f"{after - before:+.6g} km2" + (f", {after / before - 1:+.2%}" if before else "")
    return whole, (
        f"The area was repaired ({place}): by its outline it had {before:.6g} km2, it has "
        f"{after:.6g} km2 now ({change})."
    )


def _areas(geometry: BaseGeometry, crs: str) -> float:
    """Geodesic, in km2. Of a crossed outline its loops count against each other."""
    try:
        to_degrees = Transformer.from_crs(CRS.from_user_input(crs), "EPSG:4326", always_xy=True)
        placed = transform(geometry, lambda xy: np.column_stack(to_degrees.transform(*xy.T)))
    except ProjError:
        return float("nan")
    parts = getattr(placed, "geoms", [placed])
    globe = Geod(ellps="WGS84")
    return sum(abs(globe.geometry_area_perimeter(part)[0]) for part in parts) / 1e6
