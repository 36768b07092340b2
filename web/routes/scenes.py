"""`/scenes`: the rasters that jobs may name."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData

from geoanomaly.errors import ParameterError, QuotaError, SceneError
from geoanomaly.intake.workrooms import workroom
from geoanomaly.jobs import SceneRecord
from web.documents import scene_document
from web.inputs import known_sensor
from web.links import address, link
from web.pictures import picture, scene_thumbnail, scene_tile
from web.routes.jobs import Limit, Offset
from web.service import Parts, Service
from web.uploads import file_form, limited, save, sent_file

router = APIRouter()

FORM = file_form(
    "GeoTIFF or COG.", sensor={"type": "string"}, date={"type": "string", "format": "date"}
)


@router.get("/scenes")
def scenes(request: Request, parts: Parts, limit: Limit = 100, offset: Offset = 0) -> JSONResponse:
    found = parts.store.list_scenes(limit=limit, offset=offset)
    document = {
        "scenes": [scene_document(request, scene) for scene in found],
        "links": [link(address(request, "scenes"), "self")],
    }
    return JSONResponse(document)


@router.get("/scenes/{scene_id}")
def scene(request: Request, parts: Parts, scene_id: str) -> dict[str, Any]:
    return scene_document(request, parts.store.get_scene(scene_id))


@router.post("/scenes", status_code=201, openapi_extra=FORM)
async def upload(request: Request, response: Response, parts: Parts) -> dict[str, Any]:
    """Take in a scene: a GeoTIFF in the field `file`, with optional `sensor` and `date`."""
    accepted = limited(request, parts.settings.max_upload_bytes)
    if parts.quota is not None:
        # Before the body comes: what is too much now is not worth sending.
        size = int(request.headers.get("content-length", 0))
        await run_in_threadpool(parts.store.check_space, parts.quota, size)
    async with accepted.form(max_files=1, max_fields=8) as form:
        record = await run_in_threadpool(_take_in, parts, form)
    response.headers["Location"] = address(request, "scene", scene_id=record.id)
    return scene_document(request, record)


@router.get("/scenes/{scene_id}/thumbnail.png", response_class=Response)
def thumbnail(request: Request, parts: Parts, scene_id: str) -> Response:
    """The scene as a small picture, on its own grid."""
    scene = parts.store.get_scene(scene_id)
    return picture(request, scene.sha256, lambda: scene_thumbnail(scene.path, scene.sensor))


@router.get("/scenes/{scene_id}/tiles/{z}/{x}/{y}.png", response_class=Response)
def tile(request: Request, parts: Parts, scene_id: str, z: int, x: int, y: int) -> Response:
    """The scene on a web map, before any job has it."""
    scene = parts.store.get_scene(scene_id)
    if scene.crs is None:
        raise SceneError(f"{scene.title} has no CRS, so it has no place on a map.", field="scene")
    tag = f"{scene.sha256}-{z}-{x}-{y}"
    return picture(request, tag, lambda: scene_tile(scene.path, scene.sensor, x, y, z))


def _take_in(parts: Service, form: FormData) -> SceneRecord:
    # Imported here because it reads rasters, and the other pages do not.
    from geoanomaly.intake.ingest import ingest

    file, title = sent_file(form, SceneError, "scene")
    sensor, day = known_sensor(_text(form, "sensor")), _date(_text(form, "date"))
    parts.settings.scenes_dir.mkdir(parents=True, exist_ok=True)
    with workroom(parts.settings.scenes_dir.resolve()) as folder:
        path = save(file, folder / "upload.tif")
        record = ingest(path, parts.settings, title=title, sensor=sensor, date=day)
    return _keep(parts, record)


def _keep(parts: Service, record: SceneRecord) -> SceneRecord:
    path = Path(record.path)
    try:
        return parts.store.add_scene(replace(record, bytes=path.stat().st_size), parts.quota)
    except QuotaError:
        path.unlink()
        raise


def _text(form: FormData, name: str) -> str | None:
    """A text field of the form; an empty one is as good as none."""
    value = form.get(name)
    return value.strip() or None if isinstance(value, str) else None


def _date(text: str | None) -> str | None:
    try:
        return None if text is None else date.fromisoformat(text).isoformat()
    except ValueError:
        raise ParameterError(f"{text!r} is not a date like 2024-06-30.", field="date") from None
