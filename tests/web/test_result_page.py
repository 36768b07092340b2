"""The page of a result in a real browser: steered, judged, taken away, by mouse and keyboard."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
from matplotlib.image import imread
from rasterio.enums import Resampling

from geoanomaly.jobs import Verdict
from geoanomaly.results.exports import NAMES
from geoanomaly.results.legend import LEVELS
from geoanomaly.types import Job, JobSpec, Process, Scene
from tests.services import wait_for
from tests.web.backend import Backend, publish_outputs, transform, write_raster
from tests.web.browsing import MARKS, Watched, expect
from tests.web.hostile import HOSTILE

pytestmark = MARKS

HOT = (189, 0, 38)
"""The ramp's colour for the planted change."""
ABOVE = (222, 45, 138)
"""The colour of what lies above the threshold."""


def shot(page: Any) -> Any:
    """The map as it is once it no longer changes, (y, x, rgb) in 0 to 255."""
    before = b""
    for _ in range(40):
        page.wait_for_timeout(250)
        now = page.locator(".stage").screenshot()
        if now == before:
            break
        before = now
    return imread(io.BytesIO(now))[..., :3] * 255


def share(page: Any, colour: tuple[int, int, int], wide: int = 40) -> float:
    """How much of the map has about this colour."""
    return float((np.abs(shot(page) - colour).max(axis=-1) < wide).mean())


def seen(page: Any, colour: tuple[int, int, int]) -> float:
    """How much of the whole page has about this colour."""
    page.wait_for_timeout(300)
    picture = imread(io.BytesIO(page.screenshot()))[..., :3] * 255
    return float((np.abs(picture - colour).max(axis=-1) < 40).mean())


def opened(watched: Watched, backend: Backend, job: Job) -> Any:
    page = watched.page
    page.goto(f"{backend.url}/ui/jobs/{job.id}")
    page.locator(".line").first.wait_for()
    return page


def squares(backend: Backend, peaks: tuple[float, ...], **scene: Any) -> Job:
    """A finished job with a square of each peak, side by side."""
    values = np.full((1, 300, 300), 0.4, np.float32)
    for number, peak in enumerate(peaks):
        values[0, 100:120, 20 + 40 * number : 40 + 40 * number] = peak
    before, after = backend.pair()
    scenes = (Scene(str(before), **scene), Scene(str(after), **scene))
    job = backend.accept(scenes=scenes)
    backend.finish(job)
    write_raster(
        backend.settings.jobs_dir / job.id / "heatmap.tif", values, nodata=np.nan, tiled=True
    )
    return job


@pytest.fixture(scope="module")
def three(backend: Backend) -> Job:
    return squares(backend, (5.0, 4.0, 3.0))


@pytest.mark.parametrize("kind", ["done", "plain"])
def test_the_result_is_seen(
    watched: Watched, backend: Backend, kind: str, request: pytest.FixtureRequest
) -> None:
    page = opened(watched, backend, request.getfixturevalue(kind))
    page.locator("#opacity").fill("100")
    hot = share(page, HOT)
    assert hot > 0.003
    page.locator("#opacity").fill("0")
    assert share(page, HOT) < hot / 3
    assert watched.troubles == []


def test_the_threshold_moves_mask_and_anomalies(
    watched: Watched, backend: Backend, three: Job
) -> None:
    page = opened(watched, backend, three)
    assert page.locator("#count").inner_text() == "3"
    assert "false-alarm pixels per km²" in page.locator("#alarms").inner_text()
    before = page.locator("#alarms").inner_text()
    page.locator("#opacity").fill("0")
    page.locator("#mask").check()
    all_three = share(page, ABOVE)
    assert all_three > 0.002
    requests: list[str] = []
    page.on("request", lambda r: "/tiles/" in r.url and requests.append(r.url))
    page.locator("#threshold").fill(str(int(3.5 * 32)))
    page.locator("#count", has_text="2").wait_for()
    assert share(page, ABOVE) == pytest.approx(all_three * 2 / 3, rel=0.1)
    assert requests == [], "the mask follows without a request"
    assert page.locator("#alarms").inner_text() != before
    page.get_by_role("button", name="Back to the run's").click()
    page.locator("#count", has_text="3").wait_for()
    assert watched.troubles == []


def test_the_keyboard_steps_through_anomalies_and_judges(
    watched: Watched, backend: Backend, three: Job
) -> None:
    page = opened(watched, backend, three)
    page.locator(".line").first.click()
    page.locator("#detail-title", has_text="Anomaly 1").wait_for()
    page.keyboard.press("ArrowDown")
    page.locator("#detail-title", has_text="Anomaly 2").wait_for()
    assert page.evaluate("document.activeElement.dataset.id") == "2"
    page.keyboard.press("End")
    page.locator("#detail-title", has_text="Anomaly 3").wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.locator("#detail-title", has_text="Anomaly 2").wait_for()
    page.locator("#spectra svg").wait_for()
    assert page.locator("#moves").inner_text()
    assert page.locator("#chips img").count() == 3
    shown = "[...document.querySelectorAll('#chips img')].every(i => i.complete && i.naturalWidth)"
    wait_for(lambda: page.evaluate(shown), "three pictures", 20)
    page.keyboard.press("c")
    page.get_by_text("Stored.").wait_for()
    page.locator("#note").fill("new roof")
    page.locator("#note").blur()
    page.get_by_text("Note stored.").wait_for()
    page.locator("#filter").select_option("open")
    assert page.locator(".line").count() == 2
    page.reload()
    page.locator(".line").first.wait_for()
    assert page.locator(".line[data-id='2'] .mark").get_attribute("aria-label") == "confirmed"
    page.locator(".line[data-id='2']").click()
    assert page.locator("#note").input_value() == "new roof"
    page.get_by_role("button", name="Confirm").click()
    page.get_by_text("Taken back.").wait_for()
    assert backend.store.judgements(three.id) == []
    assert watched.troubles == []


def test_map_and_table_point_at_each_other(watched: Watched, backend: Backend, done: Job) -> None:
    page = opened(watched, backend, done)
    lon, lat = middle_of_the_square()
    box = page.locator(".stage").bounding_box()
    assert box
    x, y = (
        page.frame_locator("#map")
        .locator(".leaflet-container")
        .evaluate(
            "(box, [lat, lon]) => { const p = window[box.id].latLngToContainerPoint([lat, lon]);"
            " return [p.x, p.y]; }",
            [lat, lon],
        )
    )
    page.frame_locator("#map").locator(".leaflet-container").focus()
    page.keyboard.press("Enter")
    page.locator("#reading-facts", has_text="p-value").wait_for()
    page.get_by_role("button", name="Close").click()
    page.mouse.move(box["x"] + x, box["y"] + y)
    page.locator(".line.hovered").wait_for()
    page.mouse.click(box["x"] + x, box["y"] + y)
    page.locator("#detail-title", has_text="Anomaly 1").wait_for()
    page.locator("#reading-facts", has_text="4.5").wait_for()
    page.locator("#reading-spectra svg").wait_for()
    assert "3.2E-5" in page.locator("#reading-facts").inner_text().upper()
    assert watched.troubles == []


def middle_of_the_square() -> tuple[float, float]:
    """Longitude and latitude."""
    x, y = transform() * (120, 120)
    (lon,), (lat,) = rasterio.warp.transform("EPSG:32632", "EPSG:4326", [x], [y])
    return lon, lat


def test_swipe_and_bands_change_the_picture(watched: Watched, backend: Backend, done: Job) -> None:
    page = opened(watched, backend, done)
    page.locator("#opacity").fill("0")

    after = shot(page)
    page.get_by_text("Before", exact=True).first.click()
    before = shot(page)
    page.get_by_text("Swipe", exact=True).click()
    swipe = shot(page)
    middle = after.shape[1] // 2
    rows = slice(100, 400)
    left, right = slice(middle - 120, middle - 40), slice(middle + 40, middle + 120)
    assert np.abs(swipe[rows, left] - before[rows, left]).mean() < 2.5
    assert np.abs(swipe[rows, right] - after[rows, right]).mean() < 2.5
    assert np.abs(before[rows, right] - after[rows, right]).mean() > 5
    handle = page.frame_locator("#map").get_by_role("slider")
    handle.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert handle.get_attribute("aria-valuenow") == "60"
    page.get_by_text("After", exact=True).first.click()
    page.locator("#bands").select_option("own")
    page.locator("#red").select_option("6")
    page.locator("#green").select_option("1")
    assert np.abs(shot(page)[rows, left] - after[rows, left]).mean() > 2.5
    page.locator("#stretch").select_option("0,7")
    page.locator("#alike").check()
    shot(page)
    assert watched.troubles == []


def test_files_are_taken_away(
    watched: Watched, backend: Backend, done: Job, tmp_path: Path
) -> None:
    page = opened(watched, backend, done)
    page.get_by_text("Download", exact=True).click()
    page.get_by_label("CRS of the files").fill("EPSG:4326")
    for name in NAMES:
        with page.expect_download() as waiting:
            page.locator(f"a[data-name='{name}']").click()
        waiting.value.save_as(tmp_path / name)
    for name, highest in (("heatmap.tif", 4.5), ("mask.tif", 1)):
        with rasterio.open(tmp_path / name) as raster:
            assert raster.crs == "EPSG:4326"
            assert np.nanmax(raster.read(1, masked=True)) == highest
    assert len(geopandas.read_parquet(tmp_path / "anomalies.parquet")) == 1
    for name in ("anomalies.gpkg", "anomalies.geojson", "anomalies.kml"):
        table = geopandas.read_file(tmp_path / name)
        assert table.crs == "EPSG:4326"
        assert table["peak"].astype(float).tolist() == [4.5]
    assert len(pd.read_csv(tmp_path / "anomalies.csv")) == 1
    assert imread(tmp_path / "map.png").shape[2] == 4
    assert "L.map(" in (tmp_path / "map.html").read_text()
    with zipfile.ZipFile(tmp_path / "everything.zip") as archive:
        assert len(archive.namelist()) == len(NAMES)  # itself is not in it, the run's report is
    xyz = page.get_by_label("XYZ address").input_value()
    assert re.fullmatch(rf"{backend.url}/jobs/{done.id}/tiles/heatmap/.+\{{y\}}\.png", xyz)
    wmts = page.get_by_label("WMTS address").input_value()
    assert backend.http.get(wmts).status_code == 200
    assert watched.troubles == []


def test_the_taken_map_opens_without_the_service(
    watched: Watched, backend: Backend, done: Job, tmp_path: Path
) -> None:
    taken = tmp_path / "map.html"
    taken.write_bytes(backend.http.get(f"/jobs/{done.id}/exports/map.html").content)
    watched.home = "file://"
    page = watched.page
    page.goto(taken.as_uri())
    page.get_by_label("Heatmap", exact=True).wait_for()
    page.wait_for_timeout(300)
    assert seen(page, HOT) > 0.005
    # Its own threshold, and a swipe, without any service.
    page.get_by_label("Threshold", exact=True).fill(str(4 * LEVELS))
    expect(page.locator("#told")).to_contain_text(
        "Surprise 4.00 and more: 1 normal pixel in 10,000"
    )
    page.get_by_label("Opacity of the heatmap").fill("0")
    assert seen(page, ABOVE) > 0.005
    page.get_by_label("Threshold", exact=True).fill(str(5 * LEVELS))
    assert seen(page, ABOVE) < 0.001
    page.get_by_label("Threshold", exact=True).fill(str(5 * LEVELS))
    after = page.screenshot()
    page.get_by_label("Before, from the left").fill("100")
    page.wait_for_timeout(300)
    assert page.screenshot() != after
    assert watched.troubles == []


def test_hostile_words_stay_words(watched: Watched, backend: Backend) -> None:
    words = " ".join(HOSTILE)
    dialogs: list[str] = []
    watched.page.on("dialog", lambda d: (dialogs.append(d.message), d.dismiss()))
    job = squares(backend, (5.0, 4.0), title=words)
    backend.store.judge(job.id, 100, 20, Verdict.CONFIRMED, words)
    page = opened(watched, backend, job)
    assert page.locator("#title").text_content() == f"{words} → {words}"
    page.locator(".line").first.click()
    # A text area has one kind of line end.
    assert page.locator("#note").input_value().split() == words.split()
    assert dialogs == []
    assert page.evaluate("window.pwned") is None
    assert watched.troubles == []


def test_a_page_of_a_waiting_job_becomes_its_result(watched: Watched, backend: Backend) -> None:
    job = backend.accept()
    page = watched.page
    page.goto(f"{backend.url}/ui/jobs/{job.id}")
    page.get_by_text("accepted, 0 %").wait_for()
    backend.finish(job)
    page.locator(".line").first.wait_for()
    assert watched.troubles == []


def test_a_page_of_a_job_without_a_result_says_why(watched: Watched, backend: Backend) -> None:
    job = backend.accept()
    backend.store.dismiss(job.id)
    watched.page.goto(f"{backend.url}/ui/jobs/{job.id}")
    watched.page.get_by_text("was dismissed").wait_for()


@pytest.fixture(scope="module")
def crowd(backend: Backend) -> Job:
    """Ten thousand anomalies."""
    values = np.full((1, 600, 600), 0.4, np.float32)
    for row in range(100):
        for col in range(100):
            values[0, 6 * row : 6 * row + 3, 6 * col : 6 * col + 3] = 2.5 + (row * col % 97) / 40
    spec = JobSpec(Process.DETECT_ANOMALY, (Scene(str(backend.pair()[1])),))
    job = backend.store.create(spec)
    lease = backend.store.claim(job.id, "test", 60, 3)
    assert lease is not None
    folder = backend.settings.jobs_dir / job.id
    folder.mkdir(parents=True)
    outputs = publish_outputs(folder)
    path = write_raster(folder / "heatmap.tif", values, nodata=np.nan, tiled=True)
    with rasterio.open(path, "r+") as raster:
        raster.build_overviews([2], Resampling.nearest)
    backend.store.succeed(lease, outputs)
    return backend.store.get(job.id)


def test_ten_thousand_anomalies_stay_smooth(watched: Watched, backend: Backend, crowd: Job) -> None:
    page = opened(watched, backend, crowd)
    page.locator("#count", has_text="10,000").wait_for(timeout=20_000)
    assert page.locator(".line").count() < 60
    page.locator(".line").first.click()
    started = page.evaluate("performance.now()")
    for _ in range(20):
        page.keyboard.press("ArrowDown")
    page.locator("#detail-title", has_text="Anomaly 21").wait_for()
    assert page.evaluate("performance.now()") - started < 4000
    page.keyboard.press("End")
    page.locator("#detail-title", has_text="Anomaly 10000").wait_for()
    assert watched.troubles == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Any, backend: Backend, three: Job, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    watched = Watched(browser, backend, color_scheme=scheme, reduced_motion="reduce")
    page = opened(watched, backend, three)
    page.locator(".line").first.click()
    page.locator("#spectra svg").wait_for()
    page.locator("#bands").select_option("own")
    found = axe.run(page)
    assert found.violations_count == 0, found.generate_report()
    page.get_by_text("Download", exact=True).click()
    found = axe.run(page)
    assert found.violations_count == 0, found.generate_report()
    page.close()


def test_axe_finds_nothing_in_the_maps_alone(
    browser: Any, backend: Backend, three: Job, tmp_path: Path
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    taken = tmp_path / "map.html"
    taken.write_bytes(backend.http.get(f"/jobs/{three.id}/exports/map.html").content)
    job = f"{backend.url}/jobs/{three.id}"
    for address in (f"{job}/frame", f"{job}/map", taken.as_uri()):
        page = browser.new_page(bypass_csp=True)
        page.goto(address)
        page.locator(".leaflet-control-zoom").wait_for()
        found = axe.run(page)
        assert found.violations_count == 0, found.generate_report()
        page.close()
