"""The parts that every route shares, made once by the app factory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from geoanomaly.access.keys import ANYBODY, Principal
from geoanomaly.access.store import SESSION_SECONDS, KeyStore
from geoanomaly.access.tickets import ticket_for
from geoanomaly.errors import UnauthorizedError
from geoanomaly.jobs import JobStore
from geoanomaly.jobs.quotas import Quota
from geoanomaly.settings import Settings
from geoanomaly.types import Job, JobSpec, Price

Check = Callable[[JobSpec, Settings], Price]
"""Prices a request, or raises InputError or UnknownModelError before any job exists."""

Ring = Callable[[str, Settings], bool]
"""Tells the workers of a new job. False is no failure: the sweep finds the job."""


@dataclass(frozen=True)
class Service:
    """What the routes work with: all of it, or as much as one principal may see.

    keys: of those who may ask; principal: who does.
    """

    settings: Settings
    store: JobStore
    check: Check
    ring: Ring
    keys: KeyStore
    principal: Principal = ANYBODY

    def on_behalf_of(self, principal: Principal) -> Service:
        """With a store in which the jobs and scenes of others are not there, and with the models
        of this owner."""
        tenant = principal.tenant
        store = self.store.on_behalf_of(tenant, sees_all=principal.sees_all)
        settings = self.settings.of_tenant(tenant)
        return replace(self, store=store, settings=settings, principal=principal)

    def of_owner(self, job: Job) -> Service:
        """To do something in the name of whoever owns a job that was found here."""
        return self.on_behalf_of(replace(self.principal, tenant=job.tenant))

    def ticket(self, job: Job, seconds: float = SESSION_SECONDS) -> str | None:
        """For the tiles of a job and nothing else; None where nobody needs one."""
        key = self.principal.key
        return None if key is None else ticket_for(key, job.id, int(seconds))

    @property
    def quota(self) -> Quota | None:
        """None where there are no owners."""
        if self.principal.key is None:
            return None
        chosen = self.settings
        return Quota(chosen.quota_jobs, chosen.quota_pixels, chosen.quota_bytes)

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
    from geoanomaly.intake.taken import check

    return check(spec, settings)


def ring_worker(job_id: str, settings: Settings) -> bool:
    from tasks.queue import ring

    return ring(job_id, settings)


def _whole(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _service(request: Request) -> Service:
    # Without the guard before it there is no principal, and no answer either.
    principal: Principal | None = request.state.principal
    if principal is None:
        raise UnauthorizedError("This needs an API key: send it as `Authorization: Bearer KEY`.")
    return _whole(request).on_behalf_of(principal)


Parts = Annotated[Service, Depends(_service)]
"""As much of the service as who asks may see."""

Whole = Annotated[Service, Depends(_whole)]
"""For what says nothing of anybody's jobs."""
