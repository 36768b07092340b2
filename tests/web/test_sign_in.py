"""A person with a key, in a real browser: sign in, see the map, sign out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from geoanomaly.access.keys import Role
from geoanomaly.access.store import KeyStore
from tests.web.backend import Backend, running_backend
from tests.web.browsing import MARKS, Watched, expect

pytestmark = MARKS


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with running_backend(tmp_path_factory.mktemp("keys"), access=True) as found:
        yield found


def test_from_the_key_to_the_map_and_out(browser: Any, guarded: Backend) -> None:
    token = KeyStore(guarded.store.database).create("alice", Role.SUBMIT).token
    mine = replace(guarded, store=guarded.store.on_behalf_of("alice"))
    done = mine.finished_pair()
    watched = Watched(browser, guarded)
    page = watched.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{guarded.url}/ui/jobs/{done.id}")
    expect(page).to_have_title("Sign in, geoanomaly")
    page.get_by_label("API key").fill("ga_000000000000_" + "x" * 43)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    watched.troubles.clear()

    page.get_by_label("API key").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{guarded.url}/ui/jobs/{done.id}")
    expect(page.locator("#result")).to_be_visible()
    frame = page.frame_locator("#map")
    frame.locator("img.leaflet-tile-loaded").first.wait_for()
    page.locator("#take summary").click()
    address = page.get_by_label("XYZ address").input_value()
    assert re.search(r"\{y\}\.png\?ticket=[0-9a-f.]+$", address)
    assert page.evaluate("document.cookie") == "", "no script sees the cookie"
    # Another band combination: the frame asks for its tiles anew, with its ticket.
    page.keyboard.press("Escape")
    page.locator("#take summary").click()
    page.locator("#stretch").select_option("3,4")
    page.wait_for_timeout(800)
    frame.locator("img.leaflet-tile-loaded").first.wait_for()
    assert watched.troubles == []

    tiles = [url for url in asked if "/tiles/" in url and "chip.png" not in url]
    assert tiles
    assert [url for url in tiles if "WebMercatorQuad" in url and "ticket=" not in url] == []
    assert not [url for url in asked if token.split("_", 2)[2] in url]

    page.goto(f"{guarded.url}/ui")
    page.wait_for_selector("body[data-ready]")
    expect(page.get_by_text("alice")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_title("Sign in, geoanomaly")
    page.goto(f"{guarded.url}/ui")
    expect(page).to_have_title("Sign in, geoanomaly")
    page.close()


def test_a_map_of_its_own_has_its_tiles(browser: Any, guarded: Backend) -> None:
    token = KeyStore(guarded.store.database).create("bob", Role.READ).token
    done = replace(guarded, store=guarded.store.on_behalf_of("bob")).finished_pair()
    watched = Watched(browser, guarded)
    page = watched.page
    page.goto(f"{guarded.url}/sign-in?next=/jobs/{done.id}/map")
    page.get_by_label("API key").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{guarded.url}/jobs/{done.id}/map")
    page.locator("img.leaflet-tile-loaded").first.wait_for()
    page.wait_for_load_state("networkidle")
    assert watched.troubles == []
    page.close()
