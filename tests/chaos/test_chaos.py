"""Short forms of `make chaos`: every point of one life, and a few kills of a whole service."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos import nemesis
from tests.services import ROOT

POINTS = {"commit", "rename", "replace", "fsync", "ring", "answer", "acknowledge"}


@pytest.mark.service
def test_a_job_survives_death_at_each_point_of_its_life(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.chaos.lives", str(tmp_path), "short", "detected"]
    told = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=280)
    assert told.returncode == 0, told.stderr
    deaths = [json.loads(line) for line in told.stdout.splitlines()]
    assert [death for death in deaths if death["differs"]] == []
    assert {death["point"].partition(" ")[2] for death in deaths} >= POINTS
    assert len(deaths) > 40


@pytest.mark.service
def test_promises_are_kept_through_kills() -> None:
    report = nemesis.run(seed=5, kills=8, pause=0.3)
    assert report["violations"] == []
    assert report["kills"] == 8
