"""The pages for people: `/ui`, and the map of a job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.templating import Jinja2Templates

from geoanomaly import __version__
from geoanomaly.access.keys import Principal
from geoanomaly.detectors import detectors_for
from geoanomaly.errors import ParameterError
from geoanomaly.scenes.sensors import SENSORS
from geoanomaly.types import Process
from web.assets import STATIC, is_vendored
from web.figure import OPEN_STREET_MAP, origins
from web.routes.jobs import finished
from web.service import Parts

router = APIRouter()


def _owner(request: Request) -> dict[str, Any]:
    """Who is signed in; None where nobody has to."""
    principal: Principal | None = request.state.principal
    return {"owner": principal.tenant if principal and principal.key else None}


TEMPLATES = Jinja2Templates(
    directory=Path(__file__).parents[1] / "templates", context_processors=[_owner]
)
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    # One address outside, and only for the base map that a user may choose.
    f"img-src 'self' data: {OPEN_STREET_MAP}; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'self'"
)


@router.get("/ui", response_class=HTMLResponse, summary="The application page")
def ui(request: Request, parts: Parts) -> Response:
    values = {
        "roots": [str(root) for root in parts.settings.scene_roots],
        "sensors": SENSORS.values(),
        "detectors": {process: detectors_for(process) for process in Process},
        "modules": sorted(path.name for path in STATIC.glob("*.js")),
        "vendored": is_vendored(),
        "version": __version__,
    }
    return TEMPLATES.TemplateResponse(
        request, "ui.html", values, headers={"Content-Security-Policy": PAGE_POLICY}
    )


@router.get("/jobs/{job_id}/map", response_class=HTMLResponse, summary="Interactive map of a job")
def job_map(parts: Parts, job_id: str) -> Response:
    # Folium costs half a second and 60 MB, and only this page needs it.
    from web.map import render_map

    job = finished(parts.store.get(job_id))
    if job.spec.process is Process.TRAIN_MODEL:
        raise ParameterError("A training job has no map; GET /models lists models.", field="job_id")
    found = origins("../../static/vendor")
    page = render_map(parts, job, found)
    return HTMLResponse(page, headers={"Content-Security-Policy": found.policy})
