"""`/healthz` and `/metrics`: for those who watch the service. Neither says anything of a job."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from geoanomaly import __version__
from geoanomaly.errors import ServiceError
from geoanomaly.jobs.statistics import Statistics
from geoanomaly.settings import Settings
from web.service import Service, Whole

router = APIRouter()

ENOUGH_BYTES = 2 * 2**30
"""Below this a job may fail for want of space."""

RECENT_SECONDS = 5.0


@router.get("/healthz", summary="Answers 200 while jobs can be accepted")
def health(whole: Whole) -> JSONResponse:
    """database and disk: without them nothing is accepted (503). broker: without it jobs wait."""
    checks = {
        "database": _database(whole),
        "broker": "ok" if _waiting(whole.settings) is not None else "away: new jobs wait",
        "disk": _disk(whole.settings),
    }
    usable = checks["database"] == "ok" and not checks["disk"].startswith("not")
    whole_again = all(text == "ok" for text in checks.values())
    status = "ok" if whole_again else "degraded" if usable else "failing"
    document = {"status": status, "version": __version__, "checks": checks}
    return JSONResponse(document, 200 if usable else 503)


@router.get("/metrics", response_class=Response, summary="For Prometheus")
def metrics(whole: Whole) -> Response:
    """Of the whole service: processes count in the database, so each of them answers alike."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(whole))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


class _Collected(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        yield from _of_jobs(self._service.store.statistics())
        settings = self._service.settings
        rings = _waiting(settings)
        yield _gauge("broker_up", "Whether the broker answers.", float(rings is not None))
        if rings is not None:
            yield _gauge("broker_messages", "Rings that no worker has heard yet.", float(rings))
        free = shutil.disk_usage(settings.data_dir).free
        yield _gauge("disk_free_bytes", "Left in the data folder.", float(free))


def _of_jobs(found: Statistics) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("geoanomaly_jobs", "Jobs by status.", labels=["status"])
    for status, count in found.jobs.items():
        jobs.add_metric([status.value], count)
    yield jobs
    yield _gauge("queue_age_seconds", "How long the oldest waiting job waits.", found.queue_age)
    yield _gauge("leases_expired", "Running jobs whose worker is silent.", found.silent)
    for name, text in (
        ("lease_takeovers", "Jobs that another worker took from a silent one."),
        ("tiles", "Tiles done, as the progress of the jobs has them."),
        ("pixels", "Pixels of the jobs that ended well."),
        ("job_seconds", "Time that workers took for the jobs that ended well."),
    ):
        yield CounterMetricFamily(
            f"geoanomaly_{name}", text, value=found.counters.get((name, ""), 0)
        )
    refusals = CounterMetricFamily(
        "geoanomaly_sandbox_refusals", "Rasters that were not taken in.", labels=["reason"]
    )
    for (name, reason), value in found.counters.items():
        if name == "sandbox_refusals":
            refusals.add_metric([reason], value)
    yield refusals


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"geoanomaly_{name}", text, value=value)


def _database(whole: Service) -> str:
    try:
        whole.store.counts()
    except ServiceError:
        # Its text has addresses, and everybody may ask for this.
        return "away"
    return "ok"


def _disk(settings: Settings) -> str:
    folder = settings.data_dir
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        return "not writable"
    free = shutil.disk_usage(folder).free
    return "ok" if free >= ENOUGH_BYTES else f"low: {free / 2**30:.1f} GiB free"


_seen: dict[str, tuple[float, int | None]] = {}


def _waiting(settings: Settings) -> int | None:
    """Asked of the broker once in a while: everybody may ask this process."""
    from tasks.queue import broker_url, waiting

    url, now = broker_url(settings), time.monotonic()
    then, found = _seen.get(url, (-RECENT_SECONDS, None))
    if now - then >= RECENT_SECONDS:
        found = waiting(settings)
        _seen[url] = now, found
    return found
