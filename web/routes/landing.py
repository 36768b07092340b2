"""`/`, `/conformance` and `/models`."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from web.links import address, link
from web.service import Parts

router = APIRouter()

_SPEC = "http://www.opengis.net/spec"
CONFORMANCE = (
    f"{_SPEC}/ogcapi-common-1/1.0/conf/core",
    f"{_SPEC}/ogcapi-common-1/1.0/conf/json",
    f"{_SPEC}/ogcapi-common-1/1.0/conf/oas30",
    f"{_SPEC}/ogcapi-processes-1/1.0/conf/core",
    f"{_SPEC}/ogcapi-processes-1/1.0/conf/ogc-process-description",
    f"{_SPEC}/ogcapi-processes-1/1.0/conf/json",
    f"{_SPEC}/ogcapi-processes-1/1.0/conf/oas30",
    f"{_SPEC}/ogcapi-processes-1/1.0/conf/job-list",
    f"{_SPEC}/ogcapi-processes-1/1.0/conf/dismiss",
)


@router.get("/", summary="Landing page: where everything is", response_model=None)
def landing(request: Request) -> dict[str, Any] | Response:
    if "text/html" in request.headers.get("accept", ""):
        # Relative, so that it holds under a path prefix.
        return RedirectResponse("ui", status_code=303)
    openapi = "application/vnd.oai.openapi+json;version=3.0"
    rel = "http://www.opengis.net/def/rel/ogc/1.0"
    return {
        "title": "geoanomaly",
        "description": "Anomaly and change heatmaps from satellite and drone rasters.",
        "links": [
            link(address(request, "landing"), "self"),
            link(address(request, "openapi"), "service-desc", openapi),
            link(address(request, "ui"), "service-doc", "text/html"),
            link(address(request, "conformance"), "conformance"),
            link(address(request, "conformance"), f"{rel}/conformance"),
            link(address(request, "processes"), f"{rel}/processes"),
            link(address(request, "jobs"), f"{rel}/job-list"),
            link(address(request, "scenes"), "data", title="Scenes"),
        ],
    }


@router.get("/conformance")
def conformance() -> dict[str, Any]:
    return {"conformsTo": list(CONFORMANCE)}


@router.get("/models", summary="Trained models")
def models(parts: Parts) -> dict[str, Any]:
    found = []
    for path in sorted(parts.settings.models_dir.glob("*/model.json")):
        card = json.loads(path.read_text())
        kept = {key: card[key] for key in ("sensor", "bands", "digest") if key in card}
        found.append({"name": path.parent.name, **kept})
    return {"models": found}
