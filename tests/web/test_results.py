"""A finished job as its page reads it: view, anomalies, places, judgements, files to take away."""

from __future__ import annotations

import io
import re
from typing import Any
from urllib.parse import urljoin

import geopandas
import httpx
import morecantile
import numpy as np
import pytest
from fastapi import FastAPI
from matplotlib.image import imread

from geoanomaly.results.legend import LEVELS
from geoanomaly.types import Job, Process
from tests.web.backend import HOT, PIXEL, SIDE, Backend, serving
from tests.web.test_tiles import pixels, place
from web.app import create_app

MIDDLE = sum(HOT) / 2
HOSTILE = "</script><img src=x onerror=alert(1)>${alert(2)}`'\""


def found(backend: Backend, address: str, **query: Any) -> Any:
    response = backend.http.get(address, params=query)
    assert response.status_code == 200, response.text
    return response.json()


def test_the_view_has_what_the_page_needs(backend: Backend, done: Job) -> None:
    view = found(backend, f"/jobs/{done.id}/view")
    assert [scene["layer"] for scene in view["scenes"]] == ["before", "after"]
    assert [scene["title"] for scene in view["scenes"]] == ["Before", "After"]
    assert view["threshold"] == {"surprise": pytest.approx(2), "rate": 0.01}
    # UTM's scale is 0.9996 on the central meridian.
    assert view["pixels_per_km2"] == pytest.approx(1e6 / PIXEL**2, rel=2e-3)
    assert view["placed"]
    assert view["crs"] == "EPSG:32632"
    assert len(view["legend"]) == 7


def test_anomalies_follow_the_threshold(backend: Backend, done: Job) -> None:
    at_run = found(backend, f"/jobs/{done.id}/anomalies")
    assert at_run["threshold"] == pytest.approx(2)
    (only,) = at_run["features"]
    side = HOT[1] - HOT[0]
    assert only["properties"]["pixels"] == side**2
    assert only["properties"]["peak"] == 4.5
    assert only["properties"]["area_m2"] == pytest.approx((side * PIXEL) ** 2, rel=2e-3)
    assert only["properties"]["key"] == f"{HOT[0]}-{HOT[0]}"
    lon, lat = place(HOT[0] + 0.5, HOT[0] + 0.5)
    assert (only["properties"]["x"], only["properties"]["y"]) == pytest.approx((lon, lat), abs=1e-6)
    assert found(backend, f"/jobs/{done.id}/anomalies", surprise=4.6)["features"] == []
    assert found(backend, f"/jobs/{done.id}/anomalies", surprise=0)["threshold"] == 1


def test_a_reason_is_given_for_a_known_place_only(backend: Backend, done: Job) -> None:
    told = found(backend, f"/jobs/{done.id}/anomalies/{HOT[0]}-{HOT[0]}")
    assert len(told["spectra"]["before"]) == 6
    assert told["reason"]
    answer = backend.http.get(f"/jobs/{done.id}/anomalies/1-1")
    assert answer.status_code == 404


def test_a_place_has_value_p_value_and_spectra(backend: Backend, done: Job) -> None:
    lon, lat = place(MIDDLE + 0.5, MIDDLE + 0.5)
    told = found(backend, f"/jobs/{done.id}/point", x=lon, y=lat)
    assert (told["row"], told["col"]) == (MIDDLE, MIDDLE)
    assert told["surprise"] == 4.5
    assert told["p"] == pytest.approx(10**-4.5, rel=0.01)
    assert len(told["spectra"]["after"]) == 6
    lon, lat = place(5, 150)
    assert found(backend, f"/jobs/{done.id}/point", x=lon, y=lat)["surprise"] is None
    assert backend.http.get(f"/jobs/{done.id}/point?x=0&y=0").status_code == 400
    assert backend.http.get(f"/jobs/{done.id}/point?x=nan&y=0").status_code == 400


def test_a_pixel_grid_is_read_by_column_and_row(backend: Backend, plain: Job) -> None:
    told = found(backend, f"/jobs/{plain.id}/point", x=MIDDLE + 0.5, y=-MIDDLE - 0.5)
    assert told["surprise"] == 4.5
    (only,) = found(backend, f"/jobs/{plain.id}/anomalies")["features"]
    assert only["properties"]["area_m2"] is None
    corners = np.array(only["geometry"]["coordinates"][0])
    assert corners.min(axis=0).tolist() == [HOT[0], -HOT[1]]
    view = found(backend, f"/jobs/{plain.id}/view")
    assert view["pixels_per_km2"] is None
    assert view["box"] == [[-SIDE, 0], [0, SIDE]]


def test_one_scene_has_no_before(backend: Backend, done: Job) -> None:
    job = backend.accept(process=Process.DETECT_ANOMALY, scenes=done.spec.scenes[1:])
    backend.finish(job)
    view = found(backend, f"/jobs/{job.id}/view")
    assert [scene["layer"] for scene in view["scenes"]] == ["after"]
    told = found(backend, f"/jobs/{job.id}/anomalies/{HOT[0]}-{HOT[0]}")
    assert list(told["spectra"]) == ["after"]


def test_a_missing_scene_leaves_the_rest(backend: Backend, done: Job) -> None:
    before, after = done.spec.scenes
    job = backend.finish(backend.accept(scenes=(type(before)(before.href + ".gone"), after)))
    assert len(found(backend, f"/jobs/{job.id}/view")["scenes"]) == 1
    told = found(backend, f"/jobs/{job.id}/anomalies/{HOT[0]}-{HOT[0]}")
    assert "spectra" not in told


def test_what_is_not_done_has_no_view(backend: Backend) -> None:
    waiting = backend.accept()
    for part in ("view", "anomalies", "frame", "exports/map.html"):
        answer = backend.http.get(f"/jobs/{waiting.id}/{part}")
        assert answer.json()["type"].endswith("result-not-ready"), part
    # The page itself is there, and waits.
    assert backend.http.get(f"/ui/jobs/{waiting.id}").status_code == 200
    assert backend.http.get("/ui/jobs/nowhere").status_code == 404


# Judgements.


def test_a_judgement_is_stored_replaced_exported_and_taken_back(
    backend: Backend, done: Job
) -> None:
    key = f"{HOT[0]}-{HOT[0]}"
    address = f"/jobs/{done.id}/judgements/{key}"
    said = {"verdict": "dismissed", "note": "shadow"}
    assert backend.http.put(address, json=said).json()["verdict"] == "dismissed"
    said = {"verdict": "confirmed", "note": HOSTILE}
    assert backend.http.put(address, json=said).status_code == 200
    (only,) = found(backend, f"/jobs/{done.id}/judgements")["judgements"]
    assert (only["key"], only["verdict"], only["note"]) == (key, "confirmed", HOSTILE)
    (feature,) = found(backend, f"/jobs/{done.id}/anomalies", surprise=3)["features"]
    assert feature["properties"]["verdict"] == "confirmed"
    taken = backend.http.get(f"/jobs/{done.id}/exports/anomalies.parquet")
    table = geopandas.read_parquet(io.BytesIO(taken.content))
    assert table["note"].tolist() == [HOSTILE]
    assert backend.http.delete(address).status_code == 204
    assert backend.http.delete(address).status_code == 204
    assert found(backend, f"/jobs/{done.id}/judgements")["judgements"] == []


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("100-100", {"verdict": "perhaps"}),
        ("100-100", {}),
        ("100-100", {"verdict": "confirmed", "note": "x" * 2001}),
        ("a-b", {"verdict": "confirmed"}),
        ("-1-2", {"verdict": "confirmed"}),
    ],
)
def test_a_wrong_judgement_is_a_problem(
    backend: Backend, done: Job, key: str, said: dict[str, str]
) -> None:
    answer = backend.http.put(f"/jobs/{done.id}/judgements/{key}", json=said)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


def test_no_judgement_without_a_result(backend: Backend) -> None:
    address = f"/jobs/{backend.accept().id}/judgements/1-1"
    assert backend.http.put(address, json={"verdict": "confirmed"}).status_code == 404
    unknown = "/jobs/nowhere/judgements/1-1"
    assert backend.http.put(unknown, json={"verdict": "confirmed"}).status_code == 404
    assert backend.http.delete(unknown).status_code == 404


# Pictures.


def test_grey_levels_tell_every_step_of_the_threshold(backend: Backend, done: Job) -> None:
    picture = pixels(backend, f"/jobs/{done.id}/tiles/surprise/preview.png?max_size={SIDE}")
    assert picture[int(MIDDLE), int(MIDDLE), 0] == 4.5 * LEVELS
    assert picture[200, 200, 0] < LEVELS
    assert picture[5, 5, 3] == 0


def test_chips_of_all_layers_show_the_same_ground(backend: Backend, done: Job) -> None:
    (feature,) = found(backend, f"/jobs/{done.id}/anomalies")["features"]
    left, bottom, right, top = feature["properties"]["bounds"]
    side = right - left
    box = f"{left - side / 2},{bottom - side / 2},{right + side / 2},{top + side / 2}"
    root = f"/jobs/{done.id}/tiles"
    picture = pixels(backend, f"{root}/heatmap/chip.png?bounds={box}&size=80")
    assert picture.shape[:2] == (80, 80)
    assert picture[40, 40, 3] > 200
    assert picture[21:59, 21:59, 3].min() > 200
    assert picture[:19, :, 3].max() == 0
    for layer in ("before", "after"):
        assert pixels(backend, f"{root}/{layer}/chip.png?bounds={box}")[..., 3].min() == 255
    for wrong in ("1,2,3", "a,b,c,d", "5,5,1,1", "nan,0,1,1"):
        assert backend.http.get(f"{root}/heatmap/chip.png?bounds={wrong}").status_code == 400


def test_chips_of_a_pixel_grid(backend: Backend, plain: Job) -> None:
    root = f"/jobs/{plain.id}/tiles"
    picture = pixels(backend, f"{root}/heatmap/chip.png?bounds=80,80,160,160&size=80")
    assert picture[21:59, 21:59, 3].min() > 200
    assert picture[:19, :, 3].max() == 0
    # Beyond the grid there is nothing, and that is no error.
    edge = pixels(backend, f"{root}/after/chip.png?bounds=-40,-40,40,40&size=80")
    assert edge[60, 60, 3] == 255
    assert edge[10, 10, 3] == 0


def test_ranges_stretch_a_band(backend: Backend, done: Job) -> None:
    told = found(backend, f"/jobs/{done.id}/tiles/after/ranges", bidx=[1, 6])
    assert set(told["bands"]) == {"1", "6"}
    for band in told["bands"].values():
        assert band == sorted(band)
        assert len(band) == len(told["percentiles"])


def test_a_tile_is_asked_for_once(backend: Backend, done: Job) -> None:
    tile = morecantile.tms.get("WebMercatorQuad").tile(*place(150, 150), 11)
    for address in (
        f"/jobs/{done.id}/tiles/heatmap/preview.png",
        f"/jobs/{done.id}/tiles/heatmap/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}.png",
        f"/jobs/{done.id}/tiles/after/preview.png?bidx=1",
    ):
        first = backend.http.get(address)
        assert first.status_code == 200, first.text
        tag = first.headers["etag"]
        assert "max-age" in first.headers["cache-control"]
        again = backend.http.get(address, headers={"if-none-match": tag})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        assert backend.http.get(address, headers={"if-none-match": '"x"'}).status_code == 200
    assert tag != backend.http.get(f"{address}&rescale=0,1").headers["etag"]


# Files to take away.


def test_a_threshold_and_a_crs_are_heard(backend: Backend, done: Job) -> None:
    address = f"/jobs/{done.id}/exports/anomalies.parquet"
    taken = backend.http.get(address, params={"crs": "EPSG:4326", "surprise": 3})
    assert "attachment" in taken.headers["content-disposition"]
    table = geopandas.read_parquet(io.BytesIO(taken.content))
    assert table.crs == "EPSG:4326"
    assert len(table) == 1
    refused = backend.http.get(address, params={"crs": "EPSG:99"})
    assert (refused.status_code, refused.json()["field"]) == (400, "crs")
    assert backend.http.get(f"/jobs/{done.id}/exports/heatmap.exe").status_code == 400


def test_the_print_has_the_scene_and_the_heatmap(backend: Backend, done: Job) -> None:
    taken = backend.http.get(f"/jobs/{done.id}/exports/map.png")
    assert taken.headers["content-type"] == "image/png"
    assert imread(io.BytesIO(taken.content)).shape[1] > 2000


def test_the_frame_has_no_words_of_users(backend: Backend, done: Job) -> None:
    before, after = done.spec.scenes
    job = backend.accept(scenes=(type(before)(before.href, title=HOSTILE), after))
    backend.finish(job)
    response = backend.http.get(f"/jobs/{job.id}/frame")
    assert response.status_code == 200
    assert "alert(" not in response.text
    policy = response.headers["content-security-policy"]
    assert "sandbox allow-scripts" in policy
    assert "unsafe-inline" not in policy.replace("style-src-attr 'unsafe-inline'", "")
    page = backend.http.get(f"/ui/jobs/{job.id}")
    assert "alert(" not in page.text
    assert "unsafe-inline" not in page.headers["content-security-policy"]


def test_a_raster_that_is_a_speck_is_not_drawn(backend: Backend, done: Job) -> None:
    # Without overviews this would take minutes.
    answer = backend.http.get(f"/jobs/{done.id}/tiles/after/tiles/WebMercatorQuad/0/0/0.png")
    assert (answer.status_code, answer.json()["title"]) == (404, "Tile outside the raster")


def test_the_page_works_under_a_path_prefix(backend: Backend, done: Job) -> None:
    outer = FastAPI()
    outer.mount("/geo", create_app(backend.settings))
    with serving(outer) as url, httpx.Client() as http:
        here = f"{url}/geo/ui/jobs/{done.id}"
        html = http.get(here).text
        addresses = re.findall(r'(?:src|href)="([^"]+)"', html)
        assert len(addresses) > 10
        for address in addresses:
            assert http.get(urljoin(here, address)).status_code == 200, address
        frame = f"{url}/geo/jobs/{done.id}/frame"
        for address in re.findall(r"(?:src|href)='([^']+)'", http.get(frame).text):
            assert http.get(urljoin(frame, address)).status_code == 200, address
