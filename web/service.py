"""The parts that every route shares, made once by the app factory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from geoanomaly.jobs import JobStore
from geoanomaly.settings import Settings
from geoanomaly.types import Job, JobSpec, Price

Check = Callable[[JobSpec, Settings], Price]
"""Prices a request, or raises InputError or UnknownModelError before any job exists."""

Ring = Callable[[str, Settings], bool]
"""Tells the workers of a new job. False is no failure: the sweep finds the job."""


@dataclass(frozen=True)
class Service:
    """What the routes work with."""

    settings: Settings
    store: JobStore
    check: Check
    ring: Ring

    def output(self, job: Job, name: str) -> Path | None:
        """A published file of a job; None unless the job lists `name` and the file is there.

        The list is compared, not the path: no name from outside ever becomes a path.
        """
        if name not in job.outputs:
            return None
        path = self.settings.jobs_dir / job.id / name
        return path if path.is_file() else None


def check_spec(spec: JobSpec, settings: Settings) -> Price:
    # Imported when first needed: it opens rasters, and the pages do not.
    from geoanomaly.taken import check

    return check(spec, settings)


def ring_worker(job_id: str, settings: Settings) -> bool:
    from tasks.queue import ring

    return ring(job_id, settings)


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Parts = Annotated[Service, Depends(_service)]
