"""`/areas`: a vector file becomes the GeoJSON that a request takes. Nothing is kept."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from shapely.geometry import mapping
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData

from geoanomaly.errors import AreaError
from geoanomaly.intake.sent_areas import sent_area_file
from geoanomaly.scenes.area_files import MAX_BYTES, AreaFile
from web.service import Parts, Service
from web.uploads import file_form, limited, save, sent_file

router = APIRouter()


@router.post("/areas", openapi_extra=file_form("GeoJSON, GeoPackage, KML or zipped Shapefile."))
async def areas(request: Request, parts: Parts) -> dict[str, Any]:
    """Read an area from the field `file`: its polygons in WGS 84, joined."""
    async with limited(request, MAX_BYTES).form(max_files=1, max_fields=2) as form:
        return await run_in_threadpool(_read, parts, form)


def _read(parts: Service, form: FormData) -> dict[str, Any]:
    file, name = sent_file(form, AreaError, "area")
    with tempfile.TemporaryDirectory(prefix="geoanomaly-area-") as folder:
        sent = save(file, Path(folder) / "sent")
        found = sent_area_file(sent, name, parts.settings, repair=form.get("repair") == "true")
    return _document(found, name)


def _document(found: AreaFile, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "geometry": mapping(found.area.geometry),
        "polygons": found.polygons,
        "notes": list(found.notes),
    }
