"""`/jobs/{id}/events`: one server-sent event for each change of a job."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from fastapi import APIRouter
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from geoanomaly.types import Job
from web.documents import status_info
from web.service import Parts, Service

router = APIRouter()

POLL_SECONDS = 0.4


@router.get("/jobs/{job_id}/events", response_class=EventSourceResponse)
async def events(parts: Parts, job_id: str) -> EventSourceResponse:
    """The state now, then every change of it; ends with the job.

    A client that lost the connection just connects again: the first event
    is always the whole state, so nothing has to be replayed.
    """
    first = await run_in_threadpool(parts.store.get, job_id)
    return EventSourceResponse(
        _changes(parts, first),
        ping=15,
        # nginx would hold events back to fill a buffer.
        headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"},
    )


async def _changes(parts: Service, job: Job) -> AsyncIterator[ServerSentEvent]:
    yield _event(job)
    while not job.status.final:
        await asyncio.sleep(POLL_SECONDS)
        # The store is the one truth for every process, so it is asked, not a queue in memory.
        now = await run_in_threadpool(parts.store.get, job.id)
        if status_info(now) != status_info(job):
            yield _event(now)
        job = now


def _event(job: Job) -> ServerSentEvent:
    return ServerSentEvent(json.dumps(status_info(job)), event="status", retry=2000)
