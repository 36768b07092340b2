"""Areas of requests. What could keep this process busy for long is worked on in the sandbox.

A few thousand vertices can cross each other a million times: joining and repairing them
takes as long as they like, so both have a limit of time there, and files are read there too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geoanomaly.errors import AreaError
from geoanomaly.sandbox.supervisor import Limits, Subject, sandbox
from geoanomaly.scenes.area_checks import check_size
from geoanomaly.scenes.area_files import AreaFile, is_geojson
from geoanomaly.scenes.areas import area_from_geojson
from geoanomaly.settings import Settings
from geoanomaly.types import AOI, area_from_json

SECONDS = 10.0
JSON_CPU, FILE_CPU = 1, 3
"""A GeoPackage or KML has drivers to start and a CRS to look up before its first polygon."""

SIMPLE = 5_000
"""Vertices of one polygon that are checked in milliseconds."""

REMEDY = "Simplify it, or send less of it."


def sent_area(data: Any, crs: str, settings: Settings, *, field: str, repair: bool = False) -> AOI:
    """The area of a GeoJSON value, or AreaError."""
    size = check_size(data, field=field)
    kind = data.get("type") if isinstance(data, dict) else None
    if kind is None or (size <= SIMPLE and not repair and kind in ("Polygon", "MultiPolygon")):
        return area_from_geojson(data, crs, field=field)
    arguments = {"data": data, "crs": crs, "field": field, "repair": repair}
    subject = Subject("The area", field, AreaError, REMEDY)
    answer = sandbox(settings).call("area", arguments, Limits(JSON_CPU, SECONDS), subject)
    return _area(answer.value)


def sent_area_file(path: Path, name: str, settings: Settings, *, repair: bool = False) -> AreaFile:
    """The area of a vector file in a folder of its own, where its parts are unpacked."""
    path = path.resolve()
    arguments = {"path": str(path), "name": name, "repair": repair}
    cpu = JSON_CPU if is_geojson(path) else FILE_CPU
    limits = Limits(cpu, SECONDS, 2**29, writable=[path.parent])
    subject = Subject(name, "file", AreaError, REMEDY)
    found = sandbox(settings).call("area_file", arguments, limits, subject).value
    return AreaFile(_area(found["area"]), found["polygons"], tuple(found["notes"]))


def _area(said: dict[str, Any]) -> AOI:
    found = area_from_json(said)
    assert found is not None
    return found
