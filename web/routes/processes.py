"""`/processes`: what can be asked for, and asking for it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel, Field

from geoanomaly.errors import ParameterError
from geoanomaly.types import JobStatus, Process
from web.descriptions import description, summary
from web.documents import accepted_document, price_document
from web.estimates import estimate
from web.inputs import job_spec
from web.links import address, link
from web.problems import UnknownProcessError
from web.service import Parts

router = APIRouter()

Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=255)]


class Execute(BaseModel):
    """Body of an execution request, as OGC API - Processes 1.0 has it."""

    inputs: dict[str, Any]
    outputs: dict[str, Any] | None = Field(None, description="All outputs are made in any case.")
    response: Literal["document"] = "document"
    mode: Literal["async", "auto"] = "async"


@router.get("/processes")
def processes(request: Request) -> dict[str, Any]:
    found = [
        {**summary(process), "links": [link(_home(request, process), "self")]}
        for process in Process
    ]
    return {"processes": found, "links": [link(address(request, "processes"), "self")]}


@router.get("/processes/{process_id}")
def process(request: Request, process_id: str) -> dict[str, Any]:
    known = _process(process_id)
    here = _home(request, known)
    execute = "http://www.opengis.net/def/rel/ogc/1.0/execute"
    links = [link(here, "self"), link(f"{here}/execution", execute)]
    return {**description(known), "links": links}


@router.post("/processes/{process_id}/price")
def price(process_id: str, body: Execute, parts: Parts) -> dict[str, Any]:
    """What `execution` would say to the same body, without a job: its price, or its error."""
    spec = job_spec(_process(process_id), body.inputs, parts.settings, parts.store.get_scene)
    found = parts.check(spec, parts.settings)
    counts = parts.store.counts()
    ahead = counts[JobStatus.ACCEPTED] + counts[JobStatus.RUNNING]
    return {**price_document(found), "time": vars(estimate(parts, spec, found)), "ahead": ahead}


@router.post("/processes/{process_id}/execution", status_code=201)
def execution(
    request: Request,
    response: Response,
    process_id: str,
    body: Execute,
    parts: Parts,
    idempotency_key: Key = None,
) -> dict[str, Any]:
    """Check, price and accept a job; its row is written before this answers."""
    known = _process(process_id)
    _refuse_unknown_outputs(known, body)
    spec = job_spec(known, body.inputs, parts.settings, parts.store.get_scene)
    found = parts.check(spec, parts.settings)
    job = parts.store.create(spec, idempotency_key=idempotency_key, price=found, quota=parts.quota)
    # A bell that nobody hears is no error: the sweep rings again.
    parts.ring(job.id, parts.settings)
    response.headers["Location"] = address(request, "job", job_id=job.id)
    response.headers["Preference-Applied"] = "respond-async"
    return accepted_document(request, job, found)


def _process(process_id: str) -> Process:
    try:
        return Process(process_id)
    except ValueError:
        raise UnknownProcessError(process_id, [p.value for p in Process]) from None


def _home(request: Request, process: Process) -> str:
    return address(request, "process", process_id=process.value)


def _refuse_unknown_outputs(process: Process, body: Execute) -> None:
    known = description(process)["outputs"]
    for name in body.outputs or {}:
        if name not in known:
            raise ParameterError(
                f"{process.value} has no output {name!r}. It has: {', '.join(known)}.",
                field="outputs",
            )
