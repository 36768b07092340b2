"""`/jobs`: what was asked, how far it is, what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse

from geoanomaly.errors import JobFailedError, ResultNotReadyError
from geoanomaly.types import Job, JobStatus, Process
from web.documents import job_document, results_document
from web.links import address, link, media_type
from web.problems import UnknownFileError
from web.service import Parts

router = APIRouter()

Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0)]


@router.get("/jobs")
def jobs(
    request: Request,
    parts: Parts,
    status: JobStatus | None = None,
    process: Annotated[Process | None, Query(alias="processID")] = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> dict[str, Any]:
    """Newest first, a page at a time."""
    # One more than asked for tells whether there is a next page.
    found = parts.store.list(status=status, process=process, limit=limit + 1, offset=offset)
    links = [link(str(request.url), "self")]
    if len(found) > limit:
        links.append(link(_page(request, {"offset": offset + limit}), "next"))
    if offset:
        links.append(link(_page(request, {"offset": max(0, offset - limit)}), "prev"))
    return {"jobs": [job_document(request, job) for job in found[:limit]], "links": links}


@router.get("/jobs/{job_id}")
def job(request: Request, parts: Parts, job_id: str) -> dict[str, Any]:
    return job_document(request, parts.store.get(job_id))


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
    query = "&".join(f"{k}={v}" for k, v in {**request.query_params, **changes}.items())
    return f"{address(request, 'jobs')}?{query}"
