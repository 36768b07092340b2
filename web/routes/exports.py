"""`/jobs/{id}/exports/{name}`: a result in the formats of other programs, made when asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import FileResponse
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from geoanomaly.errors import InputError
from web.exports import Order, follow
from web.links import media_type
from web.problems import FAILED
from web.routes.results import Surprise, result
from web.service import Parts

log = logging.getLogger(__name__)

router = APIRouter(tags=["exports"])

Name = Literal[
    "heatmap.tif", "mask.tif", "anomalies.gpkg", "anomalies.geojson", "anomalies.parquet",
    "anomalies.kml", "anomalies.csv", "map.png", "map.html", "everything.zip",
]  # fmt: skip
Crs = Annotated[str | None, Query(max_length=20, description="EPSG:... of what is written.")]


def order(
    parts: Parts, job_id: str, name: Name, surprise: Surprise = None, crs: Crs = None
) -> Order:
    # Imported when first needed: it takes geopandas along.
    from geoanomaly.results.exports import known_crs

    found = result(parts, job_id)
    threshold = found.threshold if surprise is None else surprise
    return Order(parts, found, name, threshold, known_crs(crs))


Ordered = Annotated[Order, Depends(order)]


@router.get("/jobs/{job_id}/exports/{name}", response_class=FileResponse)
async def export(request: Request, order: Ordered) -> Response:
    """One file at a threshold (without it, the run's) and in a CRS (without it, the heatmap's)."""
    path = await run_in_threadpool(lambda: order.path)
    async with aclosing(follow(order, path)) as steps:
        async for _ in steps:
            if await request.is_disconnected():
                return Response(status_code=204)  # which nobody hears
    return FileResponse(path, media_type=media_type(order.name), filename=order.name)


@router.get("/jobs/{job_id}/exports/{name}/progress", response_class=EventSourceResponse)
async def progress(order: Ordered) -> EventSourceResponse:
    """Make the file, and tell how far it is until it can be fetched; who hangs up stops it.

    Events: `progress` (stage, percent), then `done`, or `problem` with its detail.
    """
    path = await run_in_threadpool(lambda: order.path)
    # nginx would hold events back to fill a buffer.
    headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
    return EventSourceResponse(_told(order, path), ping=15, headers=headers)


async def _told(order: Order, path: Path) -> AsyncIterator[ServerSentEvent]:
    try:
        async with aclosing(follow(order, path)) as steps:
            async for step in steps:
                yield _event("progress", stage=step.stage, percent=round(step.percent))
    except InputError as error:
        yield _event("problem", detail=str(error), field=error.field)
    except Exception as error:
        log.exception("%s could not be made", order.name, exc_info=error)
        yield _event("problem", detail=FAILED)
    else:
        yield _event("done")


def _event(name: str, **values: object) -> ServerSentEvent:
    return ServerSentEvent(json.dumps(values), event=name)
