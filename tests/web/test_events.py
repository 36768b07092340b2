"""The stream of a job's changes."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from geoanomaly.types import Job, Progress
from tests.web.backend import Backend, publish_outputs


def states(backend: Backend, job_id: str) -> list[dict[str, Any]]:
    with backend.http.stream("GET", f"/jobs/{job_id}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = list(response.iter_lines())
    assert "event: status" in lines
    return [json.loads(line[5:]) for line in lines if line.startswith("data:")]


def test_a_finished_job_is_told_once_and_the_stream_ends(backend: Backend, done: Job) -> None:
    found = states(backend, done.id)
    assert [state["status"] for state in found] == ["successful"]
    assert found == states(backend, done.id)


def test_each_change_is_one_event(backend: Backend) -> None:
    job = backend.accept()

    def work() -> None:
        lease = backend.store.claim(job.id, "test", 60, 3)
        assert lease is not None
        for percent in (20.0, 60.0):
            backend.store.report(lease, Progress("scoring", percent, f"{percent:.0f} %"))
            time.sleep(0.9)
        folder = backend.settings.jobs_dir / job.id
        folder.mkdir(parents=True)
        backend.store.succeed(lease, publish_outputs(folder))

    worker = threading.Thread(target=work)
    timer = threading.Timer(0.6, worker.start)
    timer.start()
    found = states(backend, job.id)
    worker.join()
    assert [(state["status"], state["progress"]) for state in found] == [
        ("accepted", 0),
        ("running", 20),
        ("running", 60),
        ("successful", 100),
    ]
