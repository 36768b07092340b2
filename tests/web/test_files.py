"""Published files, and nothing else."""

from __future__ import annotations

import pytest

from geoanomaly.types import Job
from tests.web.backend import Backend


def test_files_have_their_media_types(backend: Backend, done: Job) -> None:
    for name, media in (
        ("heatmap.tif", "image/tiff; application=geotiff; profile=cloud-optimized"),
        ("anomalies.geojson", "application/geo+json"),
        ("run.json", "application/json"),
    ):
        response = backend.http.get(f"/jobs/{done.id}/files/{name}")
        assert response.status_code == 200
        assert response.headers["content-type"] == media
        whole = (backend.settings.jobs_dir / done.id / name).read_bytes()
        assert response.content == whole


def test_ranges_are_served(backend: Backend, done: Job) -> None:
    address = f"/jobs/{done.id}/files/heatmap.tif"
    response = backend.http.get(address, headers={"range": "bytes=4-11"})
    assert response.status_code == 206
    whole = (backend.settings.jobs_dir / done.id / "heatmap.tif").read_bytes()
    assert response.content == whole[4:12]
    assert response.headers["content-range"] == f"bytes 4-11/{len(whole)}"


@pytest.mark.parametrize(
    "name",
    [
        "secret.txt",
        "mask.tiff",
        "..%2F..%2Fgeoanomaly.db",
        "%2Fetc%2Fhostname",
        "heatmap.tif%00",
    ],
)
def test_only_names_of_outputs_are_served(backend: Backend, done: Job, name: str) -> None:
    response = backend.http.get(f"/jobs/{done.id}/files/{name}")
    assert response.status_code == 404
    assert b"SQLite" not in response.content


def test_files_of_a_job_that_runs_are_not_ready(backend: Backend) -> None:
    response = backend.http.get(f"/jobs/{backend.accept().id}/files/heatmap.tif")
    assert response.status_code == 404
    assert response.json()["type"].endswith("result-not-ready")
