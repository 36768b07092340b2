"""Every wrong request gets a problem document that says what is wrong and where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from geoanomaly import errors
from geoanomaly.types import JobSpec, Price, Process, Scene
from tests.web.backend import Backend, fake_check
from web.problems import TABLE, kind_of
from web.service import check_spec

PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {"detail": {"type": "string", "minLength": 5}},
}
BOW_TIE = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}


def assert_problem(response: Any, status: int, field: str | None = None) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    jsonschema.validate(body, PROBLEM)
    assert body["status"] == status
    assert body.get("field") == field, body
    return str(body["detail"])


def execute(backend: Backend, inputs: dict[str, Any], process: str = "detect-change") -> Any:
    return backend.http.post(f"/processes/{process}/execution", json={"inputs": inputs})


def hrefs(backend: Backend) -> dict[str, Any]:
    before, after = backend.pair()
    return {"before": {"href": str(before)}, "after": {"href": str(after)}}


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"after": None}, "after", "missing"),
        ({"after": "nosuchscene"}, "after", "no scene 'nosuchscene'"),
        ({"after": 5}, "after", "scene id"),
        ({"after": {"href": "/etc/hostname"}}, "after", "outside the folders"),
        ({"after": {"href": "../../etc/hostname"}}, "after", "absolute path"),
        ({"after": {"href": "http://example.com/a.tif"}}, "after", "opens none"),
        ({"before": {"href": "/vsicurl/http://example.com/a.tif"}}, "before", "opens none"),
        ({"before": {"href": "s3://bucket/a.tif"}}, "before", "opens none"),
        ({"before": {"href": "GTIFF_DIR:1:/a.tif"}}, "before", "absolute path"),
        ({"befor": "x"}, "befor", "no input 'befor'"),
        ({"aoi": BOW_TIE}, "aoi", "Self-intersection"),
        ({"aoi": "text"}, "aoi", "GeoJSON"),
        ({"aoi": {"type": "FeatureCollection", "features": []}}, "aoi", "empty"),
        ({"aoi": {"type": "Point", "coordinates": [0, 0]}}, "aoi", "Point"),
        ({"exclude": BOW_TIE}, "exclude", "Self-intersection"),
        ({"aoi": {**BOW_TIE, "coordinates": []}, "aoi_crs": "EPSG:0"}, "aoi", "empty"),
        ({"sensor": "modis"}, "sensor", "not a sensor"),
        ({"detector": ["x"]}, "detector", "must be text"),
        ({"false_alarm_rate": "high"}, "false_alarm_rate", "number"),
        ({"tile_size": 64.5}, "tile_size", "whole number"),
        ({"seed": True}, "seed", "number"),
    ],
)
def test_a_wrong_input_is_named(
    backend: Backend, change: dict[str, Any], field: str, words: str
) -> None:
    jobs = backend.http.get("/jobs?limit=1000").json()["jobs"]
    detail = assert_problem(execute(backend, {**hrefs(backend), **change}), 400, field)
    assert words in detail
    assert backend.http.get("/jobs?limit=1000").json()["jobs"] == jobs


def test_a_link_out_of_the_roots_is_refused(backend: Backend, tmp_path: Path) -> None:
    outside = tmp_path / "outside.tif"
    outside.write_bytes(b"secret")
    link = backend.settings.scene_roots[0] / "link.tif"
    link.symlink_to(outside)
    dotted = f"{backend.settings.scene_roots[0]}/../data/geoanomaly.db"
    for href in (str(link), dotted):
        inputs = {**hrefs(backend), "after": {"href": href}}
        assert "outside" in assert_problem(execute(backend, inputs), 400, "after")


def test_training_needs_a_name_and_a_scene(backend: Backend) -> None:
    scenes = [hrefs(backend)["after"]]
    assert_problem(execute(backend, {"scenes": scenes}, "train-model"), 400, "name")
    assert_problem(execute(backend, {"name": "n", "scenes": []}, "train-model"), 400, "scenes")
    found = execute(backend, {"name": "n", "scenes": scenes}, "train-model")
    assert found.status_code == 201


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", None),
        (b"[]", None),
        (b"{}", "inputs"),
        (b'{"inputs": {}, "response": "raw"}', "response"),
        (b'{"inputs": {}, "mode": "sync"}', "mode"),
        (b'{"inputs": {}, "outputs": {"map": {}}}', "outputs"),
    ],
)
def test_a_body_of_another_form_is_a_400(backend: Backend, body: bytes, field: str | None) -> None:
    response = backend.http.post(
        "/processes/detect-change/execution", content=body,
        headers={"content-type": "application/json"},
    )  # fmt: skip
    assert response.status_code == 400
    if field:
        assert response.json()["field"] == field


def test_unknown_things_are_404(backend: Backend) -> None:
    for path, ending in (
        ("/processes/none", "no-such-process"),
        ("/jobs/none", "no-such-job"),
        ("/jobs/none/results", "no-such-job"),
        ("/jobs/none/events", "no-such-job"),
        ("/jobs/none/map", "no-such-job"),
        ("/jobs/none/files/heatmap.tif", "no-such-job"),
        ("/jobs/none/tiles/heatmap/info", "no-such-job"),
        ("/scenes/none", "about:blank"),
        ("/nowhere", "about:blank"),
    ):
        response = backend.http.get(path)
        assert_problem(response, 404)
        assert response.json()["type"].endswith(ending), path
    assert_problem(backend.http.delete("/jobs/none"), 404)
    assert_problem(execute(backend, {}, "none"), 404)
    assert_problem(backend.http.put("/jobs"), 405)


def test_wrong_filters_are_a_400(backend: Backend) -> None:
    assert_problem(backend.http.get("/jobs?status=lost"), 400, "status")
    assert_problem(backend.http.get("/jobs?limit=0"), 400, "limit")


def test_what_the_intake_says_reaches_the_client(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(backend.rung)

    def unknown_model(*_: Any) -> Price:
        raise errors.UnknownModelError("fields")

    monkeypatch.setattr(f"{fake_check.__module__}.verdict", unknown_model)
    detail = assert_problem(execute(backend, hrefs(backend)), 404, "model")
    assert "fields" in detail
    assert len(backend.rung) == before


def test_an_unexpected_error_tells_no_secrets(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Price:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(f"{fake_check.__module__}.verdict", broken)
    response = execute(backend, hrefs(backend))
    assert "secret" not in assert_problem(response, 500)


def test_the_real_intake_is_the_default(backend: Backend) -> None:
    before, after = backend.pair()
    scenes = (Scene(str(before)), Scene(str(after)))
    price = check_spec(JobSpec(Process.DETECT_CHANGE, scenes), backend.settings)
    assert price.shape == (300, 300)


def test_every_error_of_the_tree_has_a_row() -> None:
    def leaves(kind: type[Exception]) -> list[type[Exception]]:
        below = kind.__subclasses__()
        return [kind, *(leaf for child in below for leaf in leaves(child))]

    for kind in leaves(errors.GeoanomalyError):
        found = kind_of(kind.__new__(kind))
        assert found in TABLE.values()
        if issubclass(kind, errors.InputError):
            assert 400 <= found.status < 500
