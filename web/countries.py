"""The outlines of countries for the offline base map, from TopoJSON to what Leaflet draws."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry


def to_geojson(topology: bytes) -> bytes:
    """TopoJSON to the outlines alone, in GeoJSON: Leaflet reads no TopoJSON.

    Coordinates keep two decimals (1 km), finer than the 1:110,000,000 source.
    """
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        Path(file.name).write_bytes(topology)
        countries = geopandas.read_file(file.name, layer="countries")
    outlines = countries[["geometry"]].set_crs(4326, allow_override=True)
    outlines["geometry"] = [_cut_at_antimeridian(each) for each in outlines.geometry]
    text: str = outlines.to_json(drop_id=True, separators=(",", ":"))
    data = json.loads(text, parse_float=lambda number: round(float(number), 2))
    return json.dumps(data, separators=(",", ":")).encode()


def _cut_at_antimeridian(country: BaseGeometry) -> BaseGeometry:
    """Two parts of an outline that goes on from 180 to -180 degrees: drawn whole, it is a band."""
    parts = getattr(country, "geoms", [country])
    halves = [half for part in parts for half in _halves(part)]
    return shapely.MultiPolygon(halves) if len(halves) > len(parts) else country


def _halves(part: BaseGeometry) -> list[Any]:
    east = shapely.transform(part, lambda place: place + np.where(place[:, :1] < 0, (360, 0), 0))
    width, shifted = (bounds[2] - bounds[0] for bounds in (part.bounds, east.bounds))
    # Antarctica goes round the pole: it is as wide either way.
    if width < 180 or shifted >= 180:
        return [part]
    whole = shapely.make_valid(east)
    beyond = whole.intersection(box(180, -90, 360, 90))
    halves = (
        whole.intersection(box(0, -90, 180, 90)),
        shapely.transform(beyond, lambda place: place - (360, 0)),
    )
    return [each for half in halves for each in getattr(half, "geoms", [half])]
