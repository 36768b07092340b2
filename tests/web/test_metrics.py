"""`/metrics` as Prometheus reads it, and `/healthz` as a load balancer does."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from geoanomaly.errors import ServiceError
from geoanomaly.jobs import JobStore
from geoanomaly.types import Job
from tests.web.backend import Backend
from web.routes import metrics


def scrape(backend: Backend) -> dict[str, dict[str, float]]:
    """Samples by name, then by the value of their label."""
    answer = backend.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation
        for sample in family.samples:
            found.setdefault(sample.name, {})["".join(sample.labels.values())] = sample.value
    return found


def test_what_is_promised_is_there(backend: Backend, done: Job) -> None:
    backend.store.count("sandbox_refusals", "memory")
    found = scrape(backend)
    assert found["geoanomaly_jobs"]["successful"] >= 1
    assert set(found["geoanomaly_jobs"]) == {
        "accepted", "running", "successful", "failed", "dismissed"
    }  # fmt: skip
    assert found["geoanomaly_sandbox_refusals_total"]["memory"] >= 1
    assert found["geoanomaly_disk_free_bytes"][""] > 0
    assert found["geoanomaly_broker_up"][""] == 0
    names = {"queue_age_seconds", "leases_expired", "lease_takeovers_total", "tiles_total"}
    assert {f"geoanomaly_{name}" for name in names} <= set(found)
    assert done.id not in backend.http.get("/metrics").text


def test_the_queue_grows_old(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    job = backend.accept()
    later = scrape(backend)["geoanomaly_queue_age_seconds"][""]
    assert later >= 0
    monkeypatch.setattr(backend.store, "_clock", lambda: job.created.timestamp() + 600)
    assert scrape(backend)["geoanomaly_queue_age_seconds"][""] >= 500
    backend.store.dismiss(job.id)


def test_without_its_database_it_is_not_healthy(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: Any) -> None:
        raise ServiceError("postgresql://secret@host is away")

    monkeypatch.setattr(JobStore, "counts", away)
    answer = backend.http.get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (503, "failing")
    assert "secret" not in answer.text


def test_a_full_disk_is_said(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "ENOUGH_BYTES", 2**60)
    answer = backend.http.get("/healthz")
    assert answer.status_code == 200
    assert answer.json()["checks"]["disk"].startswith("low: ")


def test_a_folder_that_cannot_be_written_is_said(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics.os, "access", lambda *_: False)
    answer: httpx.Response = backend.http.get("/healthz")
    assert (answer.status_code, answer.json()["checks"]["disk"]) == (503, "not writable")


def test_a_raster_that_is_not_taken_in_is_counted(backend: Backend) -> None:
    def refused() -> float:
        return scrape(backend).get("geoanomaly_sandbox_refusals_total", {}).get("refused", 0)

    before = refused()
    files = {"file": ("a.tif", b"II*\0 this is no raster")}
    assert backend.http.post("/scenes", files=files).status_code == 400
    assert refused() == before + 1
