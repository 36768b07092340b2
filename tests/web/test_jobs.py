"""What the page asks of the service about jobs: lists, logs, prices, pictures, once more."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from shapely.geometry import box, mapping

from geoanomaly.errors import SceneError
from geoanomaly.jobs import JobStore
from geoanomaly.types import AOI, Job, JobSpec, JobStatus, Process, Progress, Scene
from tests.web import backend as module
from tests.web.backend import Backend, ground, write_raster

AREA = json.loads(json.dumps(mapping(box(9.0, 47.8, 9.05, 47.83))))


def listed(backend: Backend, **query: Any) -> Any:
    response = backend.http.get("/jobs", params=query)
    assert response.status_code == 200, response.text
    return response.json()


def ids(found: Any) -> list[str]:
    return [job["jobID"] for job in found["jobs"]]


def uploaded(backend: Backend, folder: Path, name: str = "a.tif", seed: int = 6) -> str:
    path = write_raster(folder / name, ground(seed))
    with path.open("rb") as file:
        return str(backend.http.post("/scenes", files={"file": (name, file)}).json()["id"])


def picture(response: Any) -> Any:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    return np.round(imread(io.BytesIO(response.content)) * 255).astype(int)


# The list.


def test_the_list_tells_what_changed_since(backend: Backend) -> None:
    old, new = backend.accept(), backend.accept()
    lease = backend.store.claim(old.id, "w", 60, 3)
    assert lease is not None
    moment = backend.http.get(f"/jobs/{new.id}").json()["updated"]
    backend.store.report(lease, Progress("scoring", 41.0, "3 of 8 tiles"))
    found = ids(listed(backend, since=moment, limit=1000))
    assert {old.id, new.id} <= set(found)
    moment = backend.http.get(f"/jobs/{old.id}").json()["updated"]
    assert old.id in ids(listed(backend, since=moment))
    backend.store.cancelled(lease)


def test_the_list_is_searched_and_counted(backend: Backend) -> None:
    scene = Scene(str(backend.pair()[1]), title="Ünïque & needle.tif")
    job = backend.accept(process=Process.DETECT_ANOMALY, scenes=(scene,))
    assert ids(listed(backend, q="needle")) == [job.id]
    assert ids(listed(backend, q="ÜNÏQUE")) == [], "only ASCII letters are folded"
    assert ids(listed(backend, q="Ünïque & n")) == [job.id]
    assert ids(listed(backend, q=job.id[:12])) == [job.id]
    assert ids(listed(backend, q="needle", processID="detect-change")) == []
    counts = listed(backend, limit=1)["counts"]
    assert counts == {status.value: n for status, n in backend.store.counts().items()}


def test_the_next_page_keeps_the_filter(backend: Backend) -> None:
    scene = Scene(str(backend.pair()[1]), title="a&b=c.tif")
    jobs = [backend.accept(process=Process.DETECT_ANOMALY, scenes=(scene,)).id for _ in range(3)]
    first = listed(backend, q="a&b=c", limit=2)
    (following,) = (link["href"] for link in first["links"] if link["rel"] == "next")
    second = backend.http.get(following).json()
    assert ids(first) + ids(second) == jobs[::-1]


@pytest.mark.parametrize(
    "query", [{"since": "yesterday"}, {"since": "2026-01-01"}, {"q": "x" * 201}]
)
def test_a_wrong_filter_is_named(backend: Backend, query: dict[str, str]) -> None:
    response = backend.http.get("/jobs", params=query)
    assert response.status_code == 400
    assert response.json()["field"] == next(iter(query))


# One job.


def test_the_log_of_a_job(backend: Backend, tmp_path: Path) -> None:
    inputs = {"scene": uploaded(backend, tmp_path)}
    body = {"inputs": inputs}
    job = backend.http.post("/processes/detect-anomaly/execution", json=body).json()["jobID"]
    lease = backend.store.claim(job, "secret-host:17", 60, 3)
    assert lease is not None
    backend.store.report(lease, Progress("reading", 1.0, "opening the scenes"))
    backend.store.fail(lease, "The disk is full.")
    log = backend.http.get(f"/jobs/{job}/log").json()["log"]
    assert [(line["stage"], line["text"]) for line in log] == [
        ("accepted", ""),
        ("checked", "taken as generic"),
        ("running", "attempt 1"),
        ("reading", "opening the scenes"),
        ("failed", "The disk is full."),
    ]
    assert all(line["at"].endswith("Z") for line in log)
    assert backend.http.get("/jobs/nope/log").status_code == 404


def test_a_job_tells_the_inputs_that_make_it_again(backend: Backend, tmp_path: Path) -> None:
    before, after = uploaded(backend, tmp_path, "b.tif"), uploaded(backend, tmp_path, "a.tif", 7)
    other = {"href": str(backend.pair()[0])}
    inputs = {
        "before": before, "after": after, "before_mask": other, "history": [other, before],
        "aoi": AREA, "sensor": "generic", "detector": "rwr", "false_alarm_rate": 0.001,
        "tile_size": 64, "seed": 3, "ignore": ["water"], "anyway": True,
    }  # fmt: skip
    path = "/processes/detect-change/execution"
    first = backend.http.post(path, json={"inputs": inputs}).json()["jobID"]
    told = backend.http.get(f"/jobs/{first}").json()["inputs"]
    assert told == inputs
    again = backend.http.post(path, json={"inputs": told}).json()["jobID"]
    assert backend.store.get(again).spec == backend.store.get(first).spec


def test_inputs_of_the_other_processes(backend: Backend, tmp_path: Path) -> None:
    scene = uploaded(backend, tmp_path)
    for process, inputs in {
        "detect-anomaly": {"scene": scene, "model": "fields", "false_alarm_rate": 0.01},
        "train-model": {"scenes": [scene, scene], "name": "fields", "exclude": AREA},
    }.items():
        job = backend.http.post(f"/processes/{process}/execution", json={"inputs": inputs}).json()
        assert backend.http.get(f"/jobs/{job['jobID']}").json()["inputs"] == inputs
    utm = AOI(box(500_000, 5_295_000, 502_000, 5_298_000), "EPSG:32632")
    job = backend.accept(aoi=utm)
    told = backend.http.get(f"/jobs/{job.id}").json()["inputs"]
    assert told["aoi_crs"] == "EPSG:32632"


def test_retry_is_a_new_job_of_the_same_request(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = backend.accept(seed=5)
    backend.store.dismiss(job.id)
    response = backend.http.post(f"/jobs/{job.id}/retry")
    assert response.status_code == 201, response.text
    again = response.json()["jobID"]
    assert response.headers["location"].endswith(f"/jobs/{again}")
    assert again != job.id
    assert backend.store.get(again).spec == job.spec
    assert backend.store.get(again).status is JobStatus.ACCEPTED
    assert again in backend.rung
    assert response.json()["price"]["pixels"] == 90_000

    def gone(_: JobSpec, __: Any) -> Any:
        raise SceneError("There is no file.", field="after")

    monkeypatch.setattr(module, "verdict", gone)
    assert backend.http.post(f"/jobs/{job.id}/retry").status_code == 400
    assert backend.http.post("/jobs/nope/retry").status_code == 404


# The price.


def price(backend: Backend, process: str, inputs: dict[str, Any]) -> Any:
    return backend.http.post(f"/processes/{process}/price", json={"inputs": inputs})


def test_the_price_makes_no_job_and_names_the_same_fields(backend: Backend, tmp_path: Path) -> None:
    scene = uploaded(backend, tmp_path)
    before = backend.store.counts()
    found = price(backend, "detect-anomaly", {"scene": scene})
    assert found.status_code == 200, found.text
    assert found.json()["pixels"] == 90_000
    assert found.json()["notes"] == ["taken as generic"]
    assert found.json()["ahead"] == before[JobStatus.ACCEPTED] + before[JobStatus.RUNNING]
    for wrong, field in (({}, "scene"), ({"scene": scene, "seed": "x"}, "seed")):
        answer = price(backend, "detect-anomaly", wrong)
        assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert backend.store.counts() == before


def test_the_time_is_learnt_from_earlier_jobs(backend: Backend, tmp_path: Path) -> None:
    """Two jobs of 100 x 100 pixels: 10 s to learn, then 2 s: a job of 90,000 pixels takes 28."""
    scene = uploaded(backend, tmp_path)
    inputs = {"scene": scene, "detector": "local-rx"}
    unknown = price(backend, "detect-anomaly", inputs).json()["time"]
    assert unknown["jobs"] == 0
    assert unknown["seconds"] > 1
    for _ in range(2):
        spec = {"process": Process.DETECT_ANOMALY, "scenes": (Scene(str(backend.pair()[1])),)}
        job = backend.finish(backend.accept(**spec, detector="local-rx"))
        seconds = {"reading": 4.0, "fitting": 6.0, "scoring": 1.5, "writing": 0.5}
        report = {"seconds": seconds, "grid": {"shape": [100, 100]}}
        (backend.settings.jobs_dir / job.id / "run.json").write_text(json.dumps(report))
    known = price(backend, "detect-anomaly", inputs).json()["time"]
    assert known == {"seconds": pytest.approx(28.0), "jobs": 2}
    other = price(backend, "detect-anomaly", {**inputs, "detector": "rx"}).json()["time"]
    assert other["jobs"] == 0, "another detector takes another time"


def test_the_time_of_training_is_that_of_earlier_training(backend: Backend, tmp_path: Path) -> None:
    inputs = {"scenes": [uploaded(backend, tmp_path)], "name": "m", "detector": "pca"}
    spec = {"process": Process.TRAIN_MODEL, "scenes": (Scene(str(backend.pair()[1])),)}
    job = backend.accept(**spec, name="m", detector="pca")
    lease = backend.store.claim(job.id, "w", 60, 3)
    assert lease is not None
    backend.store.succeed(lease, ("model.json",))
    found = price(backend, "train-model", inputs).json()["time"]
    assert found["jobs"] == 1
    assert 0 <= found["seconds"] < 5


# Pictures.


def test_a_scene_has_a_thumbnail(backend: Backend, tmp_path: Path) -> None:
    scene = uploaded(backend, tmp_path)
    address = f"/scenes/{scene}/thumbnail.png"
    response = backend.http.get(address)
    shown = picture(response)
    assert shown.shape == (176, 176, 4)
    assert (shown[..., 3] == 255).all()
    assert shown[..., :3].std() > 20, "something is to be seen"
    tag = {"if-none-match": response.headers["etag"]}
    again = backend.http.get(address, headers=tag)
    assert (again.status_code, again.content) == (304, b"")
    assert "immutable" in response.headers["cache-control"]


def test_a_scene_has_tiles_where_it_is(backend: Backend, tmp_path: Path) -> None:
    import morecantile

    scene = uploaded(backend, tmp_path)
    ring = backend.http.get(f"/scenes/{scene}").json()["footprint"]["coordinates"][0]
    lon, lat = np.mean(ring, axis=0)
    tile = morecantile.tms.get("WebMercatorQuad").tile(lon, lat, 12)
    shown = picture(backend.http.get(f"/scenes/{scene}/tiles/12/{tile.x}/{tile.y}.png"))
    assert shown.shape == (256, 256, 4)
    assert (shown[..., 3] == 255).any()
    assert backend.http.get(f"/scenes/{scene}/tiles/12/0/0.png").status_code == 404
    plain = write_raster(tmp_path / "plain.tif", ground(4, bands=3), crs=None)
    with plain.open("rb") as file:
        bare = backend.http.post("/scenes", files={"file": ("plain.tif", file)}).json()["id"]
    answer = backend.http.get(f"/scenes/{bare}/tiles/1/0/0.png")
    assert (answer.status_code, answer.json()["field"]) == (400, "scene")
    assert picture(backend.http.get(f"/scenes/{bare}/thumbnail.png")).shape[0] == 176


def test_a_job_has_a_thumbnail_with_what_was_found(backend: Backend, done: Job) -> None:
    found = picture(backend.http.get(f"/jobs/{done.id}/thumbnail.png"))
    middle = tuple(found[70, 70, :3])
    assert np.abs(np.array(middle) - (189, 0, 38)).max() < 25, "the planted change, in the ramp"
    waiting = picture(backend.http.get(f"/jobs/{backend.accept().id}/thumbnail.png"))
    assert np.abs(waiting[70, 70, :3] - np.array(middle)).max() > 25
    assert waiting.shape == found.shape


def test_a_clipped_job_shows_its_part(backend: Backend) -> None:
    """The heatmap begins 100 columns and 50 rows into the scene."""
    import rasterio

    job = backend.finished_pair()
    path = backend.settings.jobs_dir / job.id / "heatmap.tif"
    after = backend.pair()[1]
    with rasterio.open(after) as scene:
        window = rasterio.windows.Window(100, 50, 120, 80)
        transform = scene.window_transform(window)
        expected = scene.read(window=window)
    with rasterio.open(
        path, "w", driver="GTiff", width=120, height=80, count=1, dtype="float32", crs=scene.crs,
        transform=transform,
    ) as heat:  # fmt: skip
        heat.write(np.zeros((1, 80, 120), "float32"))
    shown = picture(backend.http.get(f"/jobs/{job.id}/thumbnail.png"))
    assert shown.shape[:2] == (80, 120)
    # Bands of unknown names are shown in reverse: the third is red.
    red = expected[2].astype(float)
    assert np.corrcoef(red.ravel(), shown[..., 0].ravel())[0, 1] > 0.95


def test_a_job_whose_scene_is_gone_has_a_picture_all_the_same(
    backend: Backend, tmp_path: Path
) -> None:
    spec = {"process": Process.DETECT_ANOMALY, "scenes": (Scene(str(tmp_path / "gone.tif")),)}
    job = backend.accept(**spec)
    assert picture(backend.http.get(f"/jobs/{job.id}/thumbnail.png")).size > 0
    training = backend.accept(**{**spec, "process": Process.TRAIN_MODEL}, name="m")
    assert picture(backend.http.get(f"/jobs/{training.id}/thumbnail.png")).size > 0


def test_two_web_processes_agree(backend: Backend, done: Job) -> None:
    """Nothing of a picture or a list is kept in one process only."""
    from fastapi.testclient import TestClient

    from web.app import create_app

    other = create_app(backend.settings, check=module.fake_check)
    store: JobStore = other.state.service.store
    try:
        client = TestClient(other, base_url="http://localhost", client=("127.0.0.1", 50_000))
        for path in (f"/jobs/{done.id}/thumbnail.png", f"/jobs/{done.id}/log", "/models"):
            assert client.get(path).content == backend.http.get(path).content
    finally:
        store.close()
