"""`/jobs/{id}/judgements`: what people say of anomalies."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from geoanomaly.errors import ParameterError
from geoanomaly.jobs import Judgement, Verdict
from web.routes.jobs import finished
from web.service import Parts

router = APIRouter(prefix="/jobs/{job_id}/judgements", tags=["judgements"])

KEY = re.compile(r"(\d{1,9})-(\d{1,9})")


class Said(BaseModel):
    """Body of a judgement."""

    verdict: Verdict
    note: str = Field("", max_length=2000)


@router.get("", summary="All judgements of a job, oldest first")
def judgements(parts: Parts, job_id: str) -> dict[str, Any]:
    return {"judgements": [_document(each) for each in parts.store.judgements(job_id)]}


@router.put("/{key}", summary="Confirm or dismiss an anomaly")
def judge(parts: Parts, job_id: str, key: str, said: Said) -> dict[str, Any]:
    """key: ROW-COLUMN of the highest pixel, as /anomalies has it; it outlives any threshold."""
    row, col = _pixel(key)
    finished(parts.store.get(job_id))
    return _document(parts.store.judge(job_id, row, col, said.verdict, said.note))


@router.delete("/{key}", status_code=204, summary="Take a judgement back")
def withdraw(parts: Parts, job_id: str, key: str) -> Response:
    parts.store.withdraw(job_id, *_pixel(key))
    return Response(status_code=204)


def _pixel(key: str) -> tuple[int, int]:
    found = KEY.fullmatch(key)
    if found is None:
        raise ParameterError(f"{key!r} is no anomaly: give ROW-COLUMN.", field="key")
    return int(found[1]), int(found[2])


def _document(judgement: Judgement) -> dict[str, Any]:
    return {
        "key": judgement.key,
        "verdict": judgement.verdict.value,
        "note": judgement.note,
        "at": judgement.at.isoformat(timespec="seconds"),
    }
