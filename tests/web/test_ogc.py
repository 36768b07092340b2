"""The shapes that OGC API - Processes 1.0 asks for, checked against JSON schemas."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from geoanomaly.types import Job, JobStatus, Process, Progress
from tests.web.backend import Backend

LINKS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["href", "rel", "type"],
        "properties": {"href": {"type": "string", "pattern": "^https?://"}},
    },
}
STATUS_INFO = {
    "type": "object",
    "required": ["jobID", "status", "type", "processID", "created", "updated", "links"],
    "properties": {
        "jobID": {"type": "string"},
        "type": {"const": "process"},
        "status": {"enum": ["accepted", "running", "successful", "failed", "dismissed"]},
        "message": {"type": "string"},
        "progress": {"type": "integer", "minimum": 0, "maximum": 100},
        "created": {"type": "string", "format": "date-time", "pattern": "Z$"},
        "links": LINKS,
    },
}
PROCESS = {
    "type": "object",
    "required": ["id", "version", "title", "jobControlOptions", "inputs", "outputs", "links"],
    "properties": {
        "jobControlOptions": {"contains": {"const": "async-execute"}},
        "inputs": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["title", "schema", "minOccurs"],
            },
        },
        "outputs": {"additionalProperties": {"type": "object", "required": ["schema"]}},
        "links": LINKS,
    },
}
RESULTS = {
    "type": "object",
    "required": ["heatmap", "mask", "anomalies", "run"],
    "additionalProperties": {
        "type": "object",
        "required": ["href", "type"],
        "properties": {"href": {"type": "string", "pattern": "^https?://.*/files/"}},
    },
}


def get(backend: Backend, path: str, status: int = 200) -> Any:
    response = backend.http.get(path)
    assert response.status_code == status, response.text
    return response.json()


def change(backend: Backend, **inputs: Any) -> dict[str, Any]:
    before, after = backend.pair()
    hrefs = {"before": {"href": str(before)}, "after": {"href": str(after)}}
    return {"inputs": {**hrefs, **inputs}}


def test_landing_page_links_to_everything_and_each_link_answers(backend: Backend) -> None:
    landing = get(backend, "/")
    jsonschema.validate(landing["links"], LINKS)
    relations = {link["rel"] for link in landing["links"]}
    assert {"self", "service-desc", "conformance"} <= relations
    for link in landing["links"]:
        assert backend.http.get(link["href"]).status_code == 200, link


def test_a_browser_is_sent_to_the_page(backend: Backend) -> None:
    response = backend.http.get("/", headers={"accept": "text/html,*/*"})
    assert (response.status_code, response.headers["location"]) == (303, "ui")


def test_conformance_names_the_core(backend: Backend) -> None:
    classes = get(backend, "/conformance")["conformsTo"]
    assert "http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf/core" in classes


def test_openapi_describes_the_routes(backend: Backend) -> None:
    document = get(backend, "/api")
    assert document["openapi"].startswith("3.")
    assert "/processes/{process_id}/execution" in document["paths"]


def test_every_process_is_listed_and_described(backend: Backend) -> None:
    listed = [process["id"] for process in get(backend, "/processes")["processes"]]
    assert listed == [process.value for process in Process]
    for name in listed:
        found = get(backend, f"/processes/{name}")
        jsonschema.validate(found, PROCESS)
        for value in found["inputs"].values():
            jsonschema.Draft202012Validator.check_schema(value["schema"])


def test_execution_answers_with_the_place_of_a_job_that_exists(backend: Backend) -> None:
    body = change(backend, seed=7, tile_size=128, false_alarm_rate=0.02, sensor="generic")
    response = backend.http.post("/processes/detect-change/execution", json=body)
    assert response.status_code == 201, response.text
    status = response.json()
    jsonschema.validate(status, STATUS_INFO)
    assert status["status"] == "accepted"
    assert response.headers["location"] == f"{backend.url}/jobs/{status['jobID']}"
    assert status["price"]["notes"] == ["taken as generic"]
    assert status["jobID"] in backend.rung
    spec = backend.store.get(status["jobID"]).spec
    assert (spec.seed, spec.tile_size, spec.false_alarm_rate) == (7, 128, 0.02)
    assert spec.sensor == "generic"


def test_the_same_key_gives_the_same_job(backend: Backend) -> None:
    headers = {"Idempotency-Key": "once"}
    address = "/processes/detect-change/execution"
    answers = [
        backend.http.post(address, json=change(backend), headers=headers).json() for _ in range(2)
    ]
    assert answers[0]["jobID"] == answers[1]["jobID"]


def test_an_area_may_be_a_geometry_a_feature_or_a_collection(backend: Backend) -> None:
    ring = [[9.01, 47.78], [9.05, 47.78], [9.05, 47.82], [9.01, 47.78]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "properties": {}, "geometry": geometry}
    forms = [geometry, feature, {"type": "FeatureCollection", "features": [feature]}]
    # OGC's qualified form of an input.
    forms.append({"value": geometry, "mediaType": "application/geo+json"})
    for form in forms:
        response = backend.http.post(
            "/processes/detect-change/execution", json=change(backend, aoi=form)
        )
        assert response.status_code == 201, response.text
        aoi = backend.store.get(response.json()["jobID"]).spec.aoi
        assert aoi is not None
        assert aoi.geometry.area == pytest.approx(0.0008)


def test_jobs_are_paged_and_filtered(backend: Backend, done: Job) -> None:
    for _ in range(3):
        backend.accept()
    first = get(backend, "/jobs?limit=2&status=accepted")
    assert len(first["jobs"]) == 2
    following = next(link["href"] for link in first["links"] if link["rel"] == "next")
    second = get(backend, following)
    ids = [job["jobID"] for page in (first, second) for job in page["jobs"]]
    assert len(set(ids)) == len(ids) > 2
    assert any(link["rel"] == "prev" for link in second["links"])
    for job in first["jobs"]:
        jsonschema.validate(job, STATUS_INFO)
    finished = get(backend, "/jobs?status=successful&limit=1000")["jobs"]
    assert done.id in {job["jobID"] for job in finished}
    training = get(backend, "/jobs?processID=train-model&limit=1000")["jobs"]
    assert {job["processID"] for job in training} <= {"train-model"}


def test_status_tells_how_far_a_job_is(backend: Backend) -> None:
    job = backend.accept()
    lease = backend.store.claim(job.id, "test", 60, 3)
    assert lease is not None
    backend.store.report(lease, Progress("scoring", 41.6, "5 of 12 tiles"))
    status = get(backend, f"/jobs/{job.id}")
    jsonschema.validate(status, STATUS_INFO)
    assert (status["status"], status["progress"], status["stage"]) == ("running", 42, "scoring")
    assert status["message"] == "5 of 12 tiles"
    assert {"started"} <= set(status)
    assert "finished" not in status


def test_results_are_references_by_name(backend: Backend, done: Job) -> None:
    results = get(backend, f"/jobs/{done.id}/results")
    jsonschema.validate(results, RESULTS)
    assert results["heatmap"]["href"].endswith("/files/heatmap.tif")
    assert results["anomalies"]["type"] == "application/geo+json"
    for entry in results.values():
        assert backend.http.get(entry["href"]).status_code == 200


def test_results_of_a_job_that_runs_are_not_ready(backend: Backend) -> None:
    problem = get(backend, f"/jobs/{backend.accept().id}/results", 404)
    assert problem["type"].endswith("/result-not-ready")


def test_results_of_a_failed_job_give_the_reason(backend: Backend) -> None:
    job = backend.accept()
    lease = backend.store.claim(job.id, "test", 60, 3)
    assert lease is not None
    backend.store.fail(lease, "The scenes do not overlap.")
    problem = get(backend, f"/jobs/{job.id}/results", 404)
    assert problem["detail"] == "The scenes do not overlap."
    assert get(backend, f"/jobs/{job.id}")["message"] == "The scenes do not overlap."


def test_a_waiting_job_is_dismissed_at_once(backend: Backend) -> None:
    job = backend.accept()
    response = backend.http.delete(f"/jobs/{job.id}")
    assert (response.status_code, response.json()["status"]) == (200, "dismissed")
    jsonschema.validate(response.json(), STATUS_INFO)
    assert backend.store.get(job.id).status is JobStatus.DISMISSED
    assert "dismissed" in get(backend, f"/jobs/{job.id}/results", 404)["detail"]


def test_a_running_job_is_asked_to_stop(backend: Backend) -> None:
    job = backend.accept()
    assert backend.store.claim(job.id, "test", 60, 3)
    response = backend.http.delete(f"/jobs/{job.id}")
    assert (response.status_code, response.json()["status"]) == (200, "dismissed")
    assert backend.store.get(job.id).cancel_requested
    assert get(backend, f"/jobs/{job.id}")["message"].startswith("Stopping")


def test_dismissing_a_finished_job_keeps_it(backend: Backend, done: Job) -> None:
    response = backend.http.delete(f"/jobs/{done.id}")
    assert (response.status_code, response.json()["status"]) == (200, "successful")


def test_models_are_the_folders_with_a_card(backend: Backend) -> None:
    folder = backend.settings.models_dir / "fields"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text('{"sensor": "generic", "bands": ["a"], "weights": [1]}')
    (backend.settings.models_dir / "unfinished").mkdir(exist_ok=True)
    models = get(backend, "/models")["models"]
    assert models == [{"name": "fields", "sensor": "generic", "bands": ["a"]}]


def test_health_and_metrics(backend: Backend) -> None:
    found = get(backend, "/healthz")
    assert found["status"] == "degraded", "this service has no broker"
    assert found["checks"]["database"] == "ok"
    assert found["checks"]["broker"].startswith("away")
    text = backend.http.get("/metrics").text
    assert 'geoanomaly_jobs{status="successful"}' in text
    assert 'geoanomaly_jobs{status="failed"}' in text
