"""What the browser tests share: Chromium, and a page that remembers whatever goes wrong on it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.web.backend import Backend
from web import assets

MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(not assets.is_vendored(), reason="run: python -m web.assets"),
    # Playwright talks to its browser over pipes and sockets of its own.
    pytest.mark.enable_socket,
]
sync_api = pytest.importorskip("playwright.sync_api", reason="run: pip install playwright")
expect = sync_api.expect
# Machines that run tests stall.
expect.set_options(timeout=15_000)

SYSTEM = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Any]:
    """The system's browser where there is one, else Playwright's own, else the test is skipped."""
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
    """A page, and whatever went wrong on it. options: of the browser's new page."""

    def __init__(self, browser: Any, backend: Backend, **options: Any) -> None:
        self.page = browser.new_page(**{"viewport": {"width": 1200, "height": 800}, **options})
        self.troubles: list[str] = []
        self.home = backend.url
        self.page.on("console", lambda m: m.type in ("error", "warning") and self._note(m.text))
        self.page.on("pageerror", lambda error: self._note(str(error)))
        self.page.on("requestfailed", self._failed)
        self.page.on("response", lambda r: r.status >= 400 and self._note(f"{r.status} {r.url}"))
        self.page.on("request", self._check_home)

    def _note(self, text: str) -> None:
        self.troubles.append(text)

    def _failed(self, request: Any) -> None:
        # What the page itself gave up, as a map does with tiles that moved out of sight.
        if request.failure != "net::ERR_ABORTED":
            self._note(f"failed {request.url}: {request.failure}")

    def _check_home(self, request: Any) -> None:
        if not request.url.startswith((self.home, "data:", "blob:", "about:")):
            self._note(f"elsewhere {request.url}")
