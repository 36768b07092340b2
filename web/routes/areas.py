"""`/areas`: a vector file becomes the GeoJSON that a request takes. Nothing is kept."""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePath
from typing import Any

from fastapi import APIRouter, Request
from shapely.geometry import mapping
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from geoanomaly.area_files import MAX_BYTES, AreaFile, read_sent_area
from geoanomaly.errors import AreaError
from web.uploads import file_form, limited, save

router = APIRouter()


@router.post("/areas", openapi_extra=file_form("GeoJSON, GeoPackage, KML or zipped Shapefile."))
async def areas(request: Request) -> dict[str, Any]:
    """Read an area from the field `file`: its polygons in WGS 84, joined."""
    async with limited(request, MAX_BYTES).form(max_files=1, max_fields=1) as form:
        return await run_in_threadpool(_read, form)


def _read(form: FormData) -> dict[str, Any]:
    file = form.get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        raise AreaError("Send the area as a multipart field 'file'.", field="file")
    name = PurePath(file.filename.replace("\\", "/")).name
    with tempfile.TemporaryDirectory(prefix="geoanomaly-area-") as folder:
        found = read_sent_area(save(file.file, Path(folder) / "sent"), name)
    return _document(found, name)


def _document(found: AreaFile, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "geometry": mapping(found.area.geometry),
        "polygons": found.polygons,
        "notes": list(found.notes),
    }
