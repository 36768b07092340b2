"""A job database on SQLite and on a real PostgreSQL; detectors that are trained in no time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from geoanomaly.detectors import bank, change_fit, robust
from geoanomaly.jobs import JobStore
from tests.clock import Clock
from tests.services import postgres  # noqa: F401


@pytest.fixture
def little_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what holds after any training. Other processes train as ever."""
    monkeypatch.setattr(robust, "STEPS", 80)
    monkeypatch.setattr(robust, "LOOK", 20)
    monkeypatch.setattr(bank, "MEMBERS", 200)
    rounds = tuple(replace(each, steps=each.steps // 5) for each in change_fit.ROUNDS)
    monkeypatch.setattr(change_fit, "ROUNDS", rounds)


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
