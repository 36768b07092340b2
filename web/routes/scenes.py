"""`/scenes`: the rasters that jobs may name."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path, PurePath
from typing import IO, Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.types import Message

from geoanomaly.errors import ParameterError, SceneError
from geoanomaly.jobs import SceneRecord
from web.documents import scene_document
from web.inputs import known_sensor
from web.links import address, link
from web.problems import TooLargeError
from web.routes.jobs import Limit, Offset
from web.service import Parts, Service

router = APIRouter()

OVERHEAD = 64 * 1024
"""Bytes that a multipart body may have beside its file."""

FORM_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "GeoTIFF or COG."},
        "sensor": {"type": "string"},
        "date": {"type": "string", "format": "date"},
    },
}
UPLOAD_DOC: Mapping[str, Any] = {
    "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM_SCHEMA}}}
}


@router.get("/scenes")
def scenes(
    request: Request, parts: Parts, limit: Limit = 100, offset: Offset = 0
) -> dict[str, Any]:
    found = parts.store.list_scenes(limit=limit, offset=offset)
    return {
        "scenes": [scene_document(request, scene) for scene in found],
        "links": [link(address(request, "scenes"), "self")],
    }


@router.get("/scenes/{scene_id}")
def scene(request: Request, parts: Parts, scene_id: str) -> dict[str, Any]:
    return scene_document(request, parts.store.get_scene(scene_id))


# The form is read by hand: a signature with UploadFile would have taken in the
# whole body before the first line of this function could refuse it.
@router.post("/scenes", status_code=201, openapi_extra=dict(UPLOAD_DOC))
async def upload(request: Request, response: Response, parts: Parts) -> dict[str, Any]:
    """Take in a scene: a GeoTIFF in the field `file`, with optional `sensor` and `date`."""
    limited = _limited(request, parts.settings.max_upload_bytes)
    async with limited.form(max_files=1, max_fields=8) as form:
        record = await run_in_threadpool(_take_in, parts, form)
    response.headers["Location"] = address(request, "scene", scene_id=record.id)
    return scene_document(request, record)


def _limited(request: Request, limit: int) -> Request:
    """The same request, whose body stops with an error behind `limit` bytes."""
    seen = 0

    async def receive() -> Message:
        nonlocal seen
        message = await request.receive()
        seen += len(message.get("body", b""))
        _check_length(seen, limit)
        return message

    # Said beforehand by most clients; a chunked body is counted on the way.
    _check_length(int(request.headers.get("content-length", 0)), limit)
    return Request(request.scope, receive)


def _check_length(length: int, limit: int) -> None:
    if length > limit + OVERHEAD:
        raise TooLargeError(
            f"The upload has {length:,} bytes or more; the limit is {limit:,} "
            "(GEOANOMALY_MAX_UPLOAD_BYTES). Cut the scene, or name a file on the server by href.",
            field="file",
        )


def _take_in(parts: Service, form: FormData) -> SceneRecord:
    # Imported here because it reads rasters, and the other pages do not.
    from geoanomaly.ingest import ingest

    file = form.get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        raise SceneError("Send the scene as a multipart field 'file'.", field="file")
    sensor, day = known_sensor(_text(form, "sensor")), _date(_text(form, "date"))
    scenes_dir = parts.settings.scenes_dir
    scenes_dir.mkdir(parents=True, exist_ok=True)
    # A folder of its own: GDAL finds no other file beside the upload.
    with tempfile.TemporaryDirectory(dir=scenes_dir, prefix=".upload-") as folder:
        path = _save(file.file, Path(folder) / "upload.tif")
        title = PurePath(file.filename.replace("\\", "/")).name
        record = ingest(path, parts.settings, title=title, sensor=sensor, date=day)
    parts.store.add_scene(record)
    return record


def _save(source: IO[bytes], path: Path) -> Path:
    with path.open("wb") as target:
        shutil.copyfileobj(source, target, 1024 * 1024)
    return path


def _text(form: FormData, name: str) -> str | None:
    """A text field of the form; an empty one is as good as none."""
    value = form.get(name)
    return value.strip() or None if isinstance(value, str) else None


def _date(text: str | None) -> str | None:
    try:
        return None if text is None else date.fromisoformat(text).isoformat()
    except ValueError:
        raise ParameterError(f"{text!r} is not a date like 2024-06-30.", field="date") from None
