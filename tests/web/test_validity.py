"""Masks and doubt over HTTP: what a request may say, and what the map page tells."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from geoanomaly.types import Job
from tests.web.backend import Backend, write_raster


def ask(backend: Backend, process: str = "detect-change", **inputs: Any) -> Any:
    before, after = backend.pair()
    scenes = {"before": {"href": str(before)}, "after": {"href": str(after)}}
    if process == "detect-anomaly":
        scenes = {"scene": {"href": str(after)}}
    body = {"inputs": {**scenes, **inputs}}
    return backend.http.post(f"/processes/{process}/execution", json=body)


def accepted(backend: Backend, process: str = "detect-change", **inputs: Any) -> Job:
    response = ask(backend, process, **inputs)
    assert response.status_code == 201, response.text
    return backend.store.get(response.json()["jobID"])


def test_masks_are_named_as_scenes_are(backend: Backend) -> None:
    root = backend.settings.scene_roots[0]
    path = write_raster(root / "clouds_SCL.tif", np.ones((1, 300, 300), "uint8"))
    with path.open("rb") as file:
        uploaded = backend.http.post("/scenes", files={"file": ("b_SCL.tif", file)}).json()["id"]
    job = accepted(backend, mask={"href": str(path)}, before_mask=uploaded)
    before, after = (scene.mask for scene in job.spec.scenes)
    assert after is not None
    assert after.origin == str(path)
    assert before is not None
    assert before.label == "b_SCL.tif", "the name tells that it is a classification"
    single = accepted(backend, "detect-anomaly", mask=uploaded).spec.scenes[0]
    assert single.mask == before


def test_what_to_ignore_and_whether_to_go_on(backend: Backend) -> None:
    spec = accepted(backend, ignore=["water"], anyway=True).spec
    assert (spec.ignore, spec.anyway) == (("water",), True)
    assert accepted(backend, ignore="water").spec.ignore == ("water",)
    plain = accepted(backend).spec
    assert (plain.ignore, plain.anyway) == ((), False)


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ({"mask": "nothing"}, "mask"),
        ({"before_mask": {"href": "/etc/passwd"}}, "before_mask"),
        ({"ignore": [3]}, "ignore"),
        ({"anyway": "yes"}, "anyway"),
    ],
)
def test_what_cannot_be_read_names_its_input(
    backend: Backend, inputs: dict[str, Any], field: str
) -> None:
    response = ask(backend, **inputs)
    assert response.status_code == 400
    assert response.json()["field"] == field


def test_one_scene_has_no_before_mask(backend: Backend) -> None:
    response = ask(backend, "detect-anomaly", before_mask="x")
    assert response.status_code == 400
    assert "has no input 'before_mask'" in response.json()["detail"]


def test_the_map_says_what_is_doubtful(backend: Backend, done: Job) -> None:
    def html() -> str:
        return backend.http.get(f"/jobs/{done.id}/map").text

    assert "Doubtful" not in html()
    reasons = ["0.1 % in common, <b>where</b> chance gives 0.3 %.", "3 pixels off."]
    report = {"comparability": {"verdict": "doubtful", "reasons": reasons}}
    path = backend.settings.jobs_dir / done.id / "run.json"
    path.write_text(json.dumps(report))
    page = html()
    path.write_text("{}")
    assert "Doubtful" in page
    assert "0.1 % in common" in page
    assert "3 pixels off." in page
    assert "<b>where" not in page
