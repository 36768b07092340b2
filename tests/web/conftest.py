"""One service for all tests of the web package."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from geoanomaly.types import Job
from tests.web.backend import Backend, running_backend


def pytest_configure(config: pytest.Config) -> None:
    # rasterio 1.4 multiplies transforms with '*', which affine 3 wants to be '@' one day.
    config.addinivalue_line("filterwarnings", "ignore:Use `@` matmul:PendingDeprecationWarning")
    # Scenes on a pixel grid are allowed here, and rasterio says so at each opening.
    category = "rasterio.errors.NotGeoreferencedWarning"
    config.addinivalue_line("filterwarnings", f"ignore::{category}")


@pytest.fixture(scope="package")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with running_backend(tmp_path_factory.mktemp("service")) as found:
        yield found


@pytest.fixture(scope="package")
def done(backend: Backend) -> Job:
    """A finished change job with a CRS; tests only read it."""
    return backend.finished_pair()


@pytest.fixture(scope="package")
def plain(backend: Backend) -> Job:
    """A finished change job without a CRS."""
    return backend.finished_pair(crs=None)


# For a module at a time: Playwright keeps an event loop in this thread, and other tests start one.
# Imported here: without Playwright only the tests that need it are skipped.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from tests.web.browsing import chromium

    with chromium() as found:
        yield found


@pytest.fixture
def watched(browser: Any, backend: Backend) -> Iterator[Any]:
    """A `Watched` page."""
    from tests.web.browsing import Watched

    found = Watched(browser, backend)
    yield found
    found.page.close()
