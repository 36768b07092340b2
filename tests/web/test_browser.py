"""The Folium page in a real browser: no error, nothing from elsewhere, the heatmap is seen."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from geoanomaly.types import Job
from tests.web.backend import Backend
from tests.web.browsing import MARKS, Watched

pytestmark = MARKS

HOT = (189, 0, 38)
"""The ramp's colour for the planted change."""


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
