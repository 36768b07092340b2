"""Values of the job store, and how a row becomes one. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row

from geoanomaly.types import Job, JobSpec, JobStatus, Progress


@dataclass(frozen=True)
class Lease:
    """The right to work on a job and to write its result.

    fence: grows with every lease of the job; a writer with an older one is refused.
    attempt: 1 for the first lease; a lease given back at shutdown does not count.
    """

    job_id: str
    owner: str
    fence: int
    attempt: int


@dataclass(frozen=True)
class Transition:
    """One line of a job's history: it went from `source` (None = new) to `target`."""

    job_id: str
    at: datetime
    source: JobStatus | None
    target: JobStatus
    fence: int
    note: str


@dataclass(frozen=True)
class Remark:
    """One line of a job's log. stage: of its progress, or the state that it entered."""

    at: datetime
    stage: str
    text: str


@dataclass(frozen=True)
class SceneRecord:
    """A raster that jobs may name by its id.

    path: where the service keeps it; never shown to a user.
    date: ISO 8601 date of acquisition; footprint: GeoJSON geometry in WGS 84.
    tenant: whose it is, "" where nobody needs a key; bytes: of its file.
    """

    id: str
    path: str
    title: str
    sensor: str | None
    date: str | None
    width: int
    height: int
    bands: tuple[str, ...]
    dtype: str
    crs: str | None
    footprint: Mapping[str, Any] | None
    sha256: str
    created: datetime
    tenant: str = ""
    bytes: int = 0


class Verdict(StrEnum):
    """What a person says of an anomaly."""

    CONFIRMED = "confirmed"
    DISMISSED = "dismissed"


@dataclass(frozen=True)
class Judgement:
    """What somebody said of the anomaly whose highest pixel is at (row, col) of the heatmap."""

    row: int
    col: int
    verdict: Verdict
    note: str
    at: datetime

    @property
    def key(self) -> str:
        """As `regions.Region.key`."""
        return f"{self.row}-{self.col}"


def moment(seconds: float) -> datetime:
    """An aware UTC time from seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC)


def job_of(row: Row[Any]) -> Job:
    return Job(
        id=row.id,
        spec=JobSpec.from_json(row.spec),
        status=JobStatus(row.status),
        progress=Progress(row.stage, row.percent, row.message),
        created=moment(row.created),
        updated=moment(row.updated),
        started=None if row.started is None else moment(row.started),
        finished=None if row.finished is None else moment(row.finished),
        attempt=row.attempt,
        cancel_requested=row.cancel_requested,
        outputs=tuple(row.outputs),
        tenant=row.tenant,
    )


def transition_of(row: Row[Any]) -> Transition:
    return Transition(
        job_id=row.job_id,
        at=moment(row.at),
        source=None if row.source is None else JobStatus(row.source),
        target=JobStatus(row.target),
        fence=row.fence,
        note=row.note,
    )


def remark_of(row: Row[Any]) -> Remark:
    return Remark(moment(row.at), row.stage, row.text)


def as_remark(step: Transition) -> Remark:
    """A transition for the user, to whom the name of a worker's machine says nothing."""
    note = step.note.partition(" by ")[0] if step.target is JobStatus.RUNNING else step.note
    return Remark(step.at, step.target.value, note)


def scene_of(row: Row[Any]) -> SceneRecord:
    values = dict(row._mapping)
    values["bands"] = tuple(values["bands"])
    values["created"] = moment(values["created"])
    return SceneRecord(**values)


def scene_values(record: SceneRecord) -> dict[str, Any]:
    """What `scene_of` reads back."""
    return {
        **vars(record),
        "bands": list(record.bands),
        "footprint": None if record.footprint is None else dict(record.footprint),
        "created": record.created.timestamp(),
    }


def judgement_of(row: Row[Any]) -> Judgement:
    return Judgement(row.row, row.col, Verdict(row.verdict), row.note, moment(row.at))
