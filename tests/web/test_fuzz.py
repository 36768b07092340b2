"""Generated requests: a short run of `make fuzz`, and what longer ones have found."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from geoanomaly.types import Job
from tests.web.backend import Backend
from tests.web.fuzzing import GO_ON, run, target

# Warnings of rio-tiler about such numbers would be errors here, and answers of the service.
pytestmark = pytest.mark.filterwarnings("ignore")

FAR = "1.7976931348623157e+308"


def test_no_generated_request_is_a_server_error(tmp_path: Path) -> None:
    with target(tmp_path) as place:
        done = run(place, GO_ON, seconds=8, examples=1, seed=1, phases="fuzzing,stateful")
    assert done.returncode == 0, done.stdout
    assert "Tested: " in done.stdout


@pytest.mark.parametrize(
    "path",
    [
        f"/point?x=-{FAR}&y={FAR}",
        "/tiles/heatmap/point/4.6e+16,-6.1e+16",
        "/tiles/heatmap/point/9,91",
        "/tiles/before/tiles/WebMercatorQuad/17201/291/7910?return_mask=true",
        "/tiles/before/statistics?p=1692122850920&histogram_range=0,1000",
        "/tiles/before/statistics?width=-256700981298",
        "/tiles/before/tiles/WebMercatorQuad?maxzoom=1022",
        "/tiles/after/statistics?bidx=1&nodata=nan&unscale=true&histogram_bins=0,100",
    ],
)
def test_numbers_that_are_no_place_are_refused(backend: Backend, done: Job, path: str) -> None:
    answer = backend.http.get(f"/jobs/{done.id}{path}")
    assert 400 <= answer.status_code < 500, answer.text


def test_a_page_beyond_all_numbers_is_refused(backend: Backend) -> None:
    for path in ("/jobs", "/scenes"):
        assert backend.http.get(f"{path}?offset=17396805569267961430016").status_code == 400


def test_statistics_of_a_place_beyond_the_earth_are_refused(backend: Backend, done: Job) -> None:
    ring = [[3.2e16, 9.7e15], [-2.5e16, 2.4e15], [4.1e16, -8e235], [3.2e16, 9.7e15]]
    area = {"type": "Polygon", "coordinates": [ring]}
    body = {"type": "Feature", "properties": {}, "geometry": area}
    path = f"/jobs/{done.id}/tiles/before/statistics?max_size=387&cover_scale=230"
    assert backend.http.post(path, json=body).status_code == 400
    assert backend.http.post(path, json={**body, "geometry": None}).status_code == 400


def test_a_scene_is_no_tile_of_the_world(backend: Backend) -> None:
    """Without overviews its whole tile would be drawn at the scene's own pixel size: minutes."""
    sent = {"file": ("a.tif", backend.pair()[1].read_bytes())}
    scene = backend.http.post("/scenes", files=sent).json()["id"]
    begun = time.monotonic()
    answer = backend.http.get(f"/scenes/{scene}/tiles/0/0/0.png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert time.monotonic() - begun < 5
    for tile in ("1036161269197/89854195/49", "31/0/0", "3/9/0", "-1/0/0"):
        assert backend.http.get(f"/scenes/{scene}/tiles/{tile}.png").status_code == 404, tile


def test_the_fuzzing_sees_a_server_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its success would say nothing."""
    from geoanomaly.jobs import JobStore

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError

    with target(tmp_path) as place:
        monkeypatch.setattr(JobStore, "list_scenes", broken)
        assert httpx.get(f"{place.backend.url}/healthz").status_code == 200
        # Time enough on a busy machine; the first failure ends it.
        only = ("--include-path=/scenes", "--max-failures=1")
        done = run(place, *only, seconds=60, examples=1, seed=1, phases="fuzzing")
    assert done.returncode == 1
    assert "GET /scenes" in done.stdout
