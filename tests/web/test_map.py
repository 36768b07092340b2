"""The map page of a job, as HTML."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urljoin

import folium
import httpx
import pytest
from fastapi import FastAPI

from geoanomaly.results import map_parts
from geoanomaly.results.legend import RAMP
from geoanomaly.types import Job, Process
from tests.web.backend import Backend, serving, square
from web import assets, figure
from web.app import create_app
from web.assets import AssetError
from web.figure import Origins, SafeFigure

vendored = pytest.mark.skipif(
    not assets.is_vendored(), reason="map files not fetched: python -m web.assets"
)


def page(backend: Backend, job: Job) -> Any:
    response = backend.http.get(f"/jobs/{job.id}/map")
    assert response.status_code == 200, response.text
    return response


def loaded(html: str) -> list[str]:
    """Addresses that the page loads by itself."""
    return re.findall(r"<(?:script|link|img)[^>]+(?:src|href)='?\"?([^'\" >]+)", html)


@vendored
def test_the_page_loads_nothing_from_elsewhere(backend: Backend, done: Job) -> None:
    html = page(backend, done).text
    assert loaded(html)
    for address in loaded(html):
        assert address.startswith("../../static/vendor/")
        name = address.removeprefix("../../")
        assert backend.http.get(f"/{name}").status_code == 200
    # What is left: OpenStreetMap, which is loaded only when somebody ticks it, and its credit.
    allowed = (figure.OPEN_STREET_MAP, "https://www.openstreetmap.org/copyright")
    for address in re.findall(r"https?://[^\s'\"\\]+", html):
        assert address.startswith(allowed), address


def test_every_script_carries_the_nonce_of_the_policy(backend: Backend, done: Job) -> None:
    response = page(backend, done)
    policy = response.headers["content-security-policy"]
    found = re.search(r"script-src 'nonce-([^']+)'", policy)
    assert found
    scripts = re.findall(r"<(?:script|style)\b[^>]*>", response.text)
    assert len(scripts) > 4
    assert all(f"nonce='{found[1]}'" in tag for tag in scripts)
    assert "sandbox allow-scripts" in policy
    assert "unsafe-inline" not in policy.replace("style-src-attr 'unsafe-inline'", "")
    other = page(backend, done).headers["content-security-policy"]
    assert other != policy


def test_all_layers_are_there(backend: Backend, done: Job) -> None:
    html = page(backend, done).text
    for words in (
        "After, true colour", "Before, false colour", "Heatmap", "Mask", "Anomalies (1)",
        "OpenStreetMap (internet)", "surprise", "L.control.scale",
    ):  # fmt: skip
        assert words.lower() in html.lower(), words
    for step in RAMP:
        assert step.meaning in html
    assert "tiles/heatmap/tiles/WebMercatorQuad/{z}/{x}/{y}.png" in html
    # Fixed in the address, so that all tiles of a scene are stretched alike.
    assert html.count("rescale=") >= 6


def test_everything_works_under_a_path_prefix(backend: Backend, done: Job) -> None:
    outer = FastAPI()
    outer.mount("/geo", create_app(backend.settings))
    with serving(outer) as url, httpx.Client(base_url=f"{url}/geo") as http:
        html = http.get("ui").text
        for address in re.findall(r'(?:src|href)="([^"]+)"', html):
            assert http.get(address).status_code == 200, address
        here = f"jobs/{done.id}/map"
        for address in loaded(http.get(here).text):
            assert http.get(urljoin(f"{url}/geo/{here}", address)).status_code == 200, address
        results = http.get(f"jobs/{done.id}/results").json()
        assert results["heatmap"]["href"].startswith(f"{url}/geo/jobs/")
        assert http.get(results["heatmap"]["href"]).status_code == 200


def test_addresses_are_relative(backend: Backend, done: Job) -> None:
    html = page(backend, done).text
    assert backend.url not in html
    assert '"/jobs' not in html


def test_only_numbers_of_an_anomaly_reach_the_page(backend: Backend, done: Job) -> None:
    html = page(backend, done).text
    assert "alert(1)" not in html
    assert '"peak": 4.5' in html


def test_names_of_scenes_stay_out(backend: Backend, done: Job) -> None:
    assert "placed-after" not in page(backend, done).text


def test_a_pixel_grid_gets_pictures(backend: Backend, plain: Job) -> None:
    html = page(backend, plain).text
    assert "L.CRS.Simple" in html
    assert "tiles/heatmap/preview.png?max_size=1024" in html
    assert "[[-300, 0], [0, 300]]" in html
    assert "openstreetmap" not in html.lower()
    # Rows grow downwards, Leaflet's y upwards.
    assert "[[[100.0, -100.0], [140.0, -100.0]" in html


def test_a_single_scene_has_no_before(backend: Backend, done: Job) -> None:
    job = backend.accept(process=Process.DETECT_ANOMALY, scenes=done.spec.scenes[1:])
    html = page(backend, backend.finish(job)).text
    assert "Scene, true colour" in html
    assert "Before" not in html


def test_there_is_no_map_of_what_is_not_done(backend: Backend, done: Job) -> None:
    waiting = backend.http.get(f"/jobs/{backend.accept().id}/map")
    assert waiting.json()["type"].endswith("result-not-ready")
    training = backend.accept(process=Process.TRAIN_MODEL, scenes=done.spec.scenes, name="n")
    lease = backend.store.claim(training.id, "test", 60, 3)
    assert lease is not None
    backend.store.succeed(lease, ())
    assert backend.http.get(f"/jobs/{training.id}/map").status_code == 400


def test_a_missing_scene_leaves_the_rest_of_the_map(backend: Backend, done: Job) -> None:
    before, after = done.spec.scenes
    gone = type(before)(before.href + ".gone")
    html = page(backend, backend.finish(backend.accept(scenes=(gone, after)))).text
    assert "Before" not in html
    assert "After, true colour" in html


def test_the_strongest_anomalies_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_parts, "MAX_OUTLINES", 2)
    shape = square(crs=None)
    features: list[dict[str, Any]] = [
        {"type": "Feature", "properties": {"id": i, "peak": peak}, "geometry": shape}
        for i, peak in enumerate([1.0, 9.0, None, 5.0])
    ]
    features[1]["properties"] |= {"area_m2": None, "pixels": 12}
    features[3]["properties"] |= {"area_m2": 900.4, "pixels": 1}
    shown = map_parts.strongest(features, flip=False)
    assert [feature["properties"] for feature in shown] == [
        {"id": 1, "peak": 9.0, "pixels": 12},
        {"id": 3, "peak": 5.0, "area": 900},
    ]


def test_a_script_that_is_not_pinned_is_refused() -> None:
    page = SafeFigure("t", Origins("vendor", "n"))
    page.add_child(folium.Map(tiles=None))
    with pytest.raises(AssetError, match="jquery"):
        page.render()


def test_without_vendored_files_the_map_says_so(
    backend: Backend, done: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figure, "is_vendored", lambda: False)
    response = page(backend, done)
    assert "https://cdn.jsdelivr.net/npm/leaflet@1.9.3/dist/leaflet.js" in loaded(response.text)
    assert "Needs internet" in response.text
    assert "https://cdn.jsdelivr.net" in response.headers["content-security-policy"]
