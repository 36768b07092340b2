"""`/jobs`: what was asked, how far it is, what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import AwareDatetime
from rasterio.errors import RasterioError

from geoanomaly.errors import GeoanomalyError, JobFailedError, ResultNotReadyError
from geoanomaly.types import Job, JobStatus, Process
from web.documents import accepted_document, job_document, log_document, results_document
from web.inputs import inputs_of
from web.layers import FILES, Layer, layer_path
from web.links import address, link, media_type
from web.pictures import job_thumbnail, no_picture, picture
from web.problems import UnknownFileError
from web.service import Parts, Service

router = APIRouter()

Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0, le=2**31 - 1)]


@router.get("/jobs")
def jobs(
    request: Request,
    parts: Parts,
    status: JobStatus | None = None,
    process: Annotated[Process | None, Query(alias="processID")] = None,
    q: Annotated[str | None, Query(max_length=200, description="Text in the request.")] = None,
    since: Annotated[AwareDatetime | None, Query(description="Changed then or later.")] = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> JSONResponse:
    """Newest first, a page at a time; `counts` has all jobs of the service by status."""
    # One more than asked for tells whether there is a next page.
    found = parts.store.list(
        status=status, process=process, since=since, text=q, limit=limit + 1, offset=offset
    )
    links = [link(str(request.url), "self")]
    if len(found) > limit:
        links.append(link(_page(request, {"offset": offset + limit}), "next"))
    if offset:
        links.append(link(_page(request, {"offset": max(0, offset - limit)}), "prev"))
    document = {
        "jobs": [job_document(request, job) for job in found[:limit]],
        "counts": parts.store.counts(),
        "links": links,
    }
    # Written here: FastAPI would look through every value first, which takes most of the time.
    return JSONResponse(document)


@router.get("/jobs/{job_id}")
def job(request: Request, parts: Parts, job_id: str) -> dict[str, Any]:
    """The job, and the inputs with which it could be asked for again."""
    found = parts.store.get(job_id)
    inputs = inputs_of(found.spec, parts.settings.scenes_dir)
    return {**job_document(request, found), "inputs": inputs}


@router.get("/jobs/{job_id}/log")
def log(parts: Parts, job_id: str) -> dict[str, Any]:
    """What happened to the job and what it said of itself, oldest first."""
    return log_document(parts.store.log(job_id))


@router.post("/jobs/{job_id}/retry", status_code=201)
def retry(request: Request, response: Response, parts: Parts, job_id: str) -> dict[str, Any]:
    """The same request once more, as a new job: checked again, since its scenes may be gone."""
    job = parts.store.get(job_id)
    owner = parts.of_owner(job)
    price = owner.check(job.spec, owner.settings)
    again = owner.store.create(job.spec, price=price, quota=owner.quota)
    parts.ring(again.id, parts.settings)
    response.headers["Location"] = address(request, "job", job_id=again.id)
    return accepted_document(request, again, price)


@router.get("/jobs/{job_id}/thumbnail.png", response_class=Response)
def thumbnail(request: Request, parts: Parts, job_id: str) -> Response:
    """A small picture of the job: its scene, and what was found there once it is known."""
    found = parts.store.get(job_id)
    return picture(request, f"{found.id}-{found.status}", lambda: _thumbnail(parts, found))


def _thumbnail(parts: Service, job: Job) -> bytes:
    sensor = job.spec.after.sensor or job.spec.sensor
    try:
        scene = layer_path(parts, job, Layer.AFTER)
        return job_thumbnail(scene, sensor, parts.output(job, FILES[Layer.HEATMAP]))
    except (GeoanomalyError, RasterioError):
        return no_picture()


@router.delete("/jobs/{job_id}")
def dismiss(request: Request, parts: Parts, job_id: str) -> dict[str, Any]:
    """Ask a job to stop. One that has ended keeps its status and its files."""
    found = parts.store.dismiss(job_id)
    document = job_document(request, found)
    if not found.status.final:
        # OGC: the answer says that the request was heard; the worker stops at the next tile.
        document["status"] = JobStatus.DISMISSED.value
    return document


@router.get("/jobs/{job_id}/results")
def results(request: Request, parts: Parts, job_id: str) -> dict[str, Any]:
    return results_document(request, finished(parts.store.get(job_id)))


@router.get("/jobs/{job_id}/files/{name}", response_class=FileResponse)
def file(parts: Parts, job_id: str, name: str) -> FileResponse:
    """One published file; answers ranges, so GDAL can read a COG where it lies."""
    found = finished(parts.store.get(job_id))
    path = parts.output(found, name)
    if path is None:
        have = ", ".join(found.outputs) or "none"
        raise UnknownFileError(f"Job {job_id} has no file {name!r}. It has: {have}.")
    return FileResponse(path, media_type=media_type(name), filename=name)


def finished(job: Job) -> Job:
    """The job itself, or the reason why it has no result."""
    if not job.status.final:
        raise ResultNotReadyError(
            f"Job {job.id} is {job.status.value} ({job.progress.percent:.0f} %). "
            f"GET /jobs/{job.id} says how far it is."
        )
    if job.status is JobStatus.DISMISSED:
        raise JobFailedError(f"Job {job.id} was dismissed.")
    if job.status is JobStatus.FAILED:
        raise JobFailedError(job.progress.message or f"Job {job.id} failed.")
    return job


def _page(request: Request, changes: Mapping[str, int]) -> str:
    query = urlencode({**request.query_params, **changes})
    return f"{address(request, 'jobs')}?{query}"
