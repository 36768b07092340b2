"""A job database on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from geoanomaly.jobs import JobStore
from tests.clock import Clock
from tests.services import postgres  # noqa: F401


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    return str(request.getfixturevalue("postgres")())


@pytest.fixture
def store(url: str, clock: Clock) -> Iterator[JobStore]:
    store = JobStore(url, clock, clock)
    yield store
    store.close()
