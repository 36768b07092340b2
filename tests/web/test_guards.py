"""Each guard against a hostile name holds by itself: the attack works only without both."""

from __future__ import annotations

from typing import Any

import pytest

from geoanomaly.results import map_parts
from geoanomaly.types import Job, Scene
from tests.web.backend import Backend
from tests.web.browsing import MARKS, Watched, expect

pytestmark = MARKS

NAME = "<img src=x onerror=window.pwned=1>.tif"
ESCAPED, UNESCAPED = '(".title").textContent = job.title', '(".title").innerHTML = job.title'


def without_escaping(route: Any) -> None:
    answer = route.fetch()
    body = answer.text()
    assert ESCAPED in body
    route.fulfill(response=answer, body=body.replace(ESCAPED, UNESCAPED))


def without_policy(route: Any) -> None:
    answer = route.fetch()
    headers = {name: text for name, text in answer.headers.items() if "policy" not in name}
    route.fulfill(response=answer, headers=headers)


@pytest.mark.parametrize(
    ("escaping", "policy"), [(True, True), (True, False), (False, True), (False, False)]
)
def test_a_name_runs_only_without_both_guards(
    watched: Watched, backend: Backend, escaping: bool, policy: bool
) -> None:
    backend.accept(scenes=(Scene("/a.tif"), Scene("/b.tif", title=NAME)))
    page = watched.page
    if not escaping:
        page.route("**/static/jobs.js", without_escaping)
    if not policy:
        page.route("**/ui", without_policy)
    page.goto(f"{backend.url}/ui#jobs")
    page.wait_for_selector("body[data-ready]")
    expect(page.locator(".job").first).to_be_visible()
    page.wait_for_timeout(300)
    ran = page.evaluate("window.pwned") == 1
    assert ran == (not escaping and not policy)


def test_the_map_has_numbers_only(
    backend: Backend, done: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The properties of an anomaly go into a script of Folium's, where html.escape is no help."""
    address = f"/jobs/{done.id}/map"
    assert "${alert(1)}" not in backend.http.get(address).text
    monkeypatch.setattr(map_parts, "_numbers_only", lambda feature, **_: feature)
    assert "${alert(1)}" in backend.http.get(address).text
