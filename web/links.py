"""Links of the API's documents. Absolute, from the address that the client used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from fastapi import Request

JSON = "application/json"

MEDIA_TYPES: Mapping[str, str] = {
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".geojson": "application/geo+json",
    ".gpkg": "application/geopackage+sqlite3",
    ".json": JSON,
    ".qml": "application/xml",
    ".png": "image/png",
    ".parquet": "application/vnd.apache.parquet",
    ".kml": "application/vnd.google-earth.kml+xml",
    ".csv": "text/csv",
    ".html": "text/html",
    ".zip": "application/zip",
    ".safetensors": "application/octet-stream",
}


def link(href: str, rel: str, type: str = JSON, title: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"href": href, "rel": rel, "type": type}
    return found if title is None else {**found, "title": title}


def media_type(name: str) -> str:
    """Media type of a published file, by its name."""
    # A STAC item is GeoJSON first.
    if name == "item.json":
        return "application/geo+json"
    return MEDIA_TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")


def media_rank(name: str) -> tuple[int, str]:
    """Sorts files by how much they are what a user asks for."""
    suffix = PurePosixPath(name).suffix
    known = list(MEDIA_TYPES)
    return (known.index(suffix) if suffix in known else len(known), name)


def address(request: Request, route: str, **path: str) -> str:
    return str(request.url_for(route, **path))
