"""Exports in the making: followed, stopped by who hangs up, kept for the next one who asks."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import rasterio

from geoanomaly.errors import JobCancelledError
from geoanomaly.results import exports
from geoanomaly.results.source import Source
from geoanomaly.types import Job, Progress, Report
from tests.services import wait_for
from tests.web.backend import Backend
from web.exports import KEPT_SECONDS


def told(backend: Backend, address: str) -> list[tuple[str, dict[str, Any]]]:
    """All events of a stream."""
    with backend.http.stream("GET", address) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = list(response.iter_lines())
    names = [line[7:] for line in lines if line.startswith("event: ")]
    values = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    return list(zip(names, values, strict=True))


class Slow:
    """Stands in for the writing: goes on for ten seconds unless it is stopped."""

    def __init__(self) -> None:
        self.begun, self.stopped = threading.Event(), threading.Event()

    def __call__(self, source: Source, name: str, folder: Path, report: Report) -> Path:
        self.begun.set()
        for percent in range(100):
            try:
                report(Progress(name, percent))
            except JobCancelledError:
                self.stopped.set()
                raise
            time.sleep(0.1)
        return folder


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    found = Slow()
    monkeypatch.setattr(exports, "write", found)
    return found


def test_the_making_is_told_and_the_file_kept(
    backend: Backend, done: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"/jobs/{done.id}/exports/everything.zip"
    query = "?surprise=2.25&crs=EPSG:3857"
    steps = told(backend, f"{address}/progress{query}")
    assert steps[-1] == ("done", {})
    assert {name for name, _ in steps[:-1]} == {"progress"}
    percents = [values["percent"] for _, values in steps[:-1]]
    assert percents == sorted(percents)
    monkeypatch.setattr(exports, "write", None)  # it is not made again
    assert backend.http.get(f"{address}{query}").content[:2] == b"PK"
    assert told(backend, f"{address}/progress{query}") == [("done", {})]


def test_who_hangs_up_stops_the_making(backend: Backend, done: Job, slow: Slow) -> None:
    address = f"/jobs/{done.id}/exports/heatmap.tif/progress?surprise=2.5"
    with backend.http.stream("GET", address) as response:
        assert next(line for line in response.iter_lines() if "heatmap.tif" in line)
    wait_for(slow.stopped.is_set, "the making to stop", 5)
    # The writing has stopped; what it had begun is removed after that.
    begun = backend.settings.exports_dir
    wait_for(lambda: not list(begun.glob(".making-*")), "what was begun to go", 5)


def test_a_plain_request_that_goes_away_stops_it_too(
    backend: Backend, done: Job, slow: Slow
) -> None:
    with httpx.Client(base_url=backend.url, timeout=1) as http, pytest.raises(httpx.ReadTimeout):
        http.get(f"/jobs/{done.id}/exports/heatmap.tif?surprise=2.6")
    assert slow.begun.is_set()
    wait_for(slow.stopped.is_set, "the making to stop", 5)


def test_a_failure_is_told_without_its_secrets(
    backend: Backend, done: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> Path:
        raise OSError("/secret/place is full")

    monkeypatch.setattr(exports, "write", failing)
    address = f"/jobs/{done.id}/exports/map.html/progress?surprise=2.7"
    name, values = told(backend, address)[-1]
    assert name == "problem"
    assert "secret" not in values["detail"]


def test_without_a_crs_what_needs_one_is_refused(backend: Backend, plain: Job) -> None:
    root = f"/jobs/{plain.id}/exports"
    for name in ("anomalies.kml", "map.png?crs=EPSG:4326", "map.html?crs=EPSG:4326"):
        refused = backend.http.get(f"{root}/{name}")
        assert (refused.status_code, refused.json()["title"]) == (400, "Parameter not allowed")
        assert "no CRS" in refused.json()["detail"]
    name, values = told(backend, f"{root}/anomalies.kml/progress")[-1]
    assert (name, values["field"]) == ("problem", "name")


def test_rasters_of_the_run_are_not_written_again(backend: Backend, done: Job) -> None:
    published = backend.settings.jobs_dir / done.id
    for name in ("heatmap.tif", "mask.tif"):
        taken = backend.http.get(f"/jobs/{done.id}/exports/{name}")
        assert taken.content == (published / name).read_bytes()
    other = backend.http.get(f"/jobs/{done.id}/exports/mask.tif?surprise=5").content
    with rasterio.MemoryFile(other) as file, file.open() as raster:
        assert (raster.read(1) == 1).sum() == 0


def test_what_nobody_wants_any_more_is_deleted(backend: Backend, done: Job) -> None:
    address = f"/jobs/{done.id}/exports/anomalies.csv"
    backend.http.get(address, params={"surprise": 2.125})
    (old,) = (
        path.parent
        for path in backend.settings.exports_dir.glob("*/anomalies.csv")
        if time.time() - path.stat().st_mtime < 2
    )
    os.utime(old, (0, time.time() - KEPT_SECONDS - 1))
    backend.http.get(address, params={"surprise": 2.25})
    assert not old.exists()
