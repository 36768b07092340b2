"""The journey of an analyst through the real service: page, broker, worker, pipeline, page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from shapely.geometry import shape

from geoanomaly.service import Service
from geoanomaly.settings import Settings
from tests.rasters import change_pair
from tests.web.backend import Backend
from tests.web.browsing import MARKS, Watched, expect

pytestmark = [*MARKS, pytest.mark.service]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Settings]]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("service"), threads=2)
    with Service(settings, "127.0.0.1", 0) as running:
        yield running.url, settings


def test_from_two_files_to_a_result(
    browser: Any, service: tuple[str, Settings], tmp_path: Path
) -> None:
    url, settings = service
    before, after, truth = change_pair(tmp_path)
    watched = Watched(browser, Backend(url, settings, None, None))  # type: ignore[arg-type]
    page = watched.page
    page.goto(f"{url}/ui")
    page.get_by_role("button", name="Upload GeoTIFFs").click()
    page.set_input_files("#file", [before, after])
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.get_by_text("Added.")).to_have_count(2, timeout=20_000)
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name=f"Before: {before.name}").click()
    page.get_by_role("button", name=f"After: {after.name}").click()
    page.locator(".leaflet-tile-loaded").first.wait_for()
    page.wait_for_timeout(600)  # the map flies to the scenes

    page.get_by_role("button", name="Rectangle").click()
    frame = page.locator("#map").bounding_box()
    x, y = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
    page.mouse.click(x - 200, y - 200)
    page.mouse.move(x, y)
    page.mouse.click(x + 200, y + 200)
    page.locator("#detector-detect-change").select_option("rwr")
    expect(page.locator("#price")).to_contain_text(
        re.compile(r"about .+ · \d+ tile"), timeout=20_000
    )
    page.get_by_role("button", name="Start").click()

    row = page.locator(".job")
    expect(row.locator(".badge")).to_have_text("done", timeout=90_000)
    expect(row.locator(".log b").last).to_have_text("successful")
    stages = row.locator(".log b").all_text_contents()
    milestones = ["accepted", "running", "scoring", "successful"]
    assert [name for name in stages if name in milestones] == milestones
    (folder,) = settings.jobs_dir.glob("[!.]*")
    draft = json.loads(page.evaluate("sessionStorage.getItem('geoanomaly-draft')"))
    with rasterio.open(folder / "heatmap.tif") as heat, rasterio.open(after) as scene:
        west, south, east, north = rasterio.warp.transform_bounds(
            "EPSG:4326", heat.crs, *shape(draft["geometry"]).bounds
        )
        assert heat.bounds == pytest.approx((west, south, east, north), abs=30)
        values = heat.read(1)
        col, row_off = ~scene.transform * (heat.transform.c, heat.transform.f)
    part = truth[round(row_off) :, round(col) :][: values.shape[0], : values.shape[1]]
    known = np.isfinite(values)
    assert part.sum() > 20, "the area holds a planted change"
    assert values[part & known].mean() > values[~part & known].mean() + 1

    page.get_by_role("link", name="Open").click()
    expect(page).to_have_url(re.compile(rf"/ui/jobs/{folder.name}$"))
    expect(page.locator("#result")).to_be_visible(timeout=20_000)
    page.go_back()
    page.wait_for_selector("body[data-ready]")
    expect(page.locator(".job .badge")).to_have_text("done")
    assert watched.troubles == []
