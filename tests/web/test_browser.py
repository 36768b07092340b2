"""The pages in a real browser: no error, nothing from elsewhere, and the heatmap is seen."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from geoanomaly.types import Job
from tests.web.backend import Backend, ground, write_raster
from web import assets

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not assets.is_vendored(), reason="run: python -m web.assets"),
    # Playwright talks to its browser over pipes and sockets of its own.
    pytest.mark.enable_socket,
]

sync_api = pytest.importorskip("playwright.sync_api", reason="run: pip install playwright")

SYSTEM = ("chromium", "chromium-browser", "google-chrome")
HOT = (189, 0, 38)
"""The ramp's colour for the planted change."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    system = next((path for name in SYSTEM if (path := shutil.which(name))), None)
    # Chromium's sandbox does not start for root, which is what containers run as.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        try:
            found = playwright.chromium.launch(executable_path=system, args=options)
        except sync_api.Error as error:
            pytest.skip(
                f"no browser ({error.message.splitlines()[0]}); run: playwright install chromium"
            )
        yield found
        found.close()


class Watched:
    """A page, and whatever went wrong on it."""

    def __init__(self, browser: Any, backend: Backend) -> None:
        self.page = browser.new_page(viewport={"width": 1100, "height": 800})
        self.troubles: list[str] = []
        self.home = backend.url
        self.page.on("console", lambda m: m.type in ("error", "warning") and self._note(m.text))
        self.page.on("pageerror", lambda error: self._note(str(error)))
        self.page.on("requestfailed", lambda request: self._note(f"failed {request.url}"))
        self.page.on("response", lambda r: r.status >= 400 and self._note(f"{r.status} {r.url}"))
        self.page.on("request", self._check_home)

    def _note(self, text: str) -> None:
        self.troubles.append(text)

    def _check_home(self, request: Any) -> None:
        if not request.url.startswith((self.home, "data:", "blob:", "about:")):
            self._note(f"elsewhere {request.url}")


@pytest.fixture
def watched(browser: Any, backend: Backend) -> Iterator[Watched]:
    found = Watched(browser, backend)
    yield found
    found.page.close()


def share(page: Any, colour: tuple[int, int, int]) -> float:
    """How much of the picture has about this colour."""
    picture = np.asarray(imread(io.BytesIO(page.screenshot())))[..., :3] * 255
    return float((np.abs(picture - colour).max(axis=-1) < 25).mean())


@pytest.mark.parametrize("kind", ["done", "plain"])
def test_the_map_shows_the_heatmap(
    watched: Watched, backend: Backend, kind: str, request: pytest.FixtureRequest
) -> None:
    job: Job = request.getfixturevalue(kind)
    page = watched.page
    page.goto(f"{backend.url}/jobs/{job.id}/map", wait_until="networkidle")
    page.wait_for_selector("path.leaflet-interactive")
    page.wait_for_timeout(500)
    hot = share(page, HOT)
    assert hot > 0.005
    page.get_by_label("Heatmap", exact=True).uncheck()
    page.wait_for_timeout(500)
    # The legend keeps its swatch of this colour, and the slider its track.
    assert share(page, HOT) < hot / 2
    assert watched.troubles == []


def test_popup_and_opacity_work_under_the_policy(
    watched: Watched, backend: Backend, done: Job
) -> None:
    page = watched.page
    page.goto(f"{backend.url}/jobs/{done.id}/map", wait_until="networkidle")
    page.locator("path.leaflet-interactive").last.click()
    popup = page.locator(".leaflet-popup-content").inner_text()
    assert "1,440,000" in popup
    page.locator("#opacity").fill("0")
    assert page.evaluate(
        "[...document.querySelectorAll('.leaflet-layer')].some(e => e.style.opacity === '0')"
    )
    assert watched.troubles == []


def test_a_user_uploads_starts_and_looks(
    watched: Watched, backend: Backend, done: Job, tmp_path: Path
) -> None:
    page = watched.page
    page.goto(f"{backend.url}/ui")
    for name in ("before.tif", "after.tif"):
        page.set_input_files("#file", write_raster(tmp_path / name, ground(6)))
        page.get_by_role("button", name="Upload").click()
        page.get_by_text(f"Added {name}").wait_for()
    page.locator("#before").select_option(index=2)
    page.locator("#after").select_option(index=1)
    page.get_by_role("button", name="Start").click()
    row = page.locator(".job", has_text="before.tif → after.tif").first
    row.get_by_text("accepted").wait_for()
    row.get_by_role("button", name="Stop").click()
    row.get_by_text("dismissed").wait_for()
    page.locator(f"[data-job='{done.id}'] .show").click()
    frame = page.frame_locator("#viewer-map")
    frame.locator("path.leaflet-interactive").last.wait_for()
    page.wait_for_load_state("networkidle")
    assert watched.troubles == []


def test_an_error_appears_at_its_field(watched: Watched, backend: Backend) -> None:
    page = watched.page
    page.goto(f"{backend.url}/ui")
    page.get_by_role("button", name="Start").click()
    shown = page.locator("[data-field=before] .error")
    shown.wait_for()
    assert "missing" in shown.inner_text()
    # The browser itself notes the 400.
    assert all("400" in trouble for trouble in watched.troubles)
