"""`/jobs/{id}/view`, `/anomalies` and `/point`: the finished job as its page reads it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from geoanomaly.access.tickets import TICKET_SECONDS
from geoanomaly.errors import ParameterError
from geoanomaly.types import Process
from web import results
from web.assets import STATIC
from web.figure import origins
from web.results import Result
from web.routes.jobs import finished
from web.routes.pages import PAGE_POLICY, TEMPLATES
from web.service import Parts, Service

router = APIRouter(tags=["results"])

Surprise = Annotated[
    float | None,
    Query(ge=0, le=100, description="Threshold; without it the run's own."),
]
Coordinate = Annotated[float, Query(allow_inf_nan=False)]


def result(parts: Service, job_id: str) -> Result:
    job = finished(parts.store.get(job_id))
    if job.spec.process is Process.TRAIN_MODEL:
        raise ParameterError("A training job has no map; GET /models lists models.", field="job_id")
    return results.result_of(parts, job)


@router.get("/ui/jobs/{job_id}", response_class=HTMLResponse, summary="The page of a result")
def page(request: Request, parts: Parts, job_id: str) -> Response:
    """Also of a job that is not finished yet: the page waits for it."""
    # frame.js belongs to the map, which is a page of its own.
    modules = sorted({path.name for path in (STATIC / "job").glob("*.js")} - {"frame.js"})
    job = parts.store.get(job_id)
    values = {"job_id": job.id, "done": job.status.final, "modules": modules}
    return TEMPLATES.TemplateResponse(
        request, "job.html", values,
        headers={"Content-Security-Policy": PAGE_POLICY},
    )  # fmt: skip


@router.get("/jobs/{job_id}/frame", response_class=HTMLResponse, summary="The map in that page")
def frame(parts: Parts, job_id: str) -> Response:
    # Folium costs half a second and 60 MB, and only maps need it.
    from web.frame import render_frame

    job = result(parts, job_id).job
    found = origins("../../static/vendor")
    return HTMLResponse(
        render_frame(parts, job, found), headers={"Content-Security-Policy": found.policy}
    )


@router.get("/jobs/{job_id}/view", summary="What the result page needs to know of a job")
def view(parts: Parts, job_id: str) -> dict[str, Any]:
    found = result(parts, job_id)
    # For programs that cannot send a key, such as QGIS with a bare address.
    return {**results.view(parts, found), "ticket": parts.ticket(found.job, TICKET_SECONDS)}


@router.get("/jobs/{job_id}/anomalies", summary="Anomalies at any threshold, as GeoJSON")
def anomalies(
    parts: Parts,
    job_id: str,
    surprise: Surprise = None,
    outlines: Annotated[bool, Query(description="With geometries, or the table alone.")] = True,
) -> Response:
    found = result(parts, job_id)
    at = found.threshold if surprise is None else surprise
    text = results.anomalies(parts, found, at, draw=outlines)
    return Response(text, media_type="application/geo+json")


@router.get("/jobs/{job_id}/anomalies/{key}", summary="Why an anomaly stands out")
def anomaly(parts: Parts, job_id: str, key: str, surprise: Surprise = None) -> dict[str, Any]:
    found = result(parts, job_id)
    at = found.threshold if surprise is None else surprise
    return results.anomaly(parts, found, key, at)


@router.get("/jobs/{job_id}/point", summary="Value, p-value and spectra at a place")
def point(parts: Parts, job_id: str, x: Coordinate, y: Coordinate) -> dict[str, Any]:
    """x, y: longitude and latitude, or column and minus row where there is no CRS."""
    return results.point(parts, result(parts, job_id), x, y)
