"""`make chaos`: death at every point of every life, kills of a whole service, the real pipeline.

Prints one line of JSON for each part; ends with 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from geoanomaly.jobs import JobStore
from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec, JobStatus, Process, Scene
from tasks.broker import wait_until_ready
from tasks.queue import ring
from tests.chaos import nemesis
from tests.services import ROOT, processes, wait_for

KILLS_AT_ONCE = 100


def every_point() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="lives-", dir="/tmp") as folder:
        command = [sys.executable, "-m", "tests.chaos.lives", folder, "whole"]
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True)
    deaths = [json.loads(line) for line in told.stdout.splitlines()]
    lives = sorted({death["life"] for death in deaths})
    broken = [death for death in deaths if death["differs"]]
    return {"what": "death at every point", "lives": lives, "deaths": len(deaths), "broken": broken}


def takeover() -> dict[str, Any]:
    """With the settings as they are shipped: from kill -9 of a pool child to the next attempt."""
    with tempfile.TemporaryDirectory(prefix="take-", dir="/tmp") as folder:
        settings = Settings(data_dir=Path(folder), threads=1)
        with processes(settings) as running:
            running.start("tasks.broker")
            wait_until_ready(settings)
            running.start("tests.tasks.fake_worker")
            store = JobStore(settings.database)
            spec = JobSpec(Process.DETECT_ANOMALY, (Scene("steps=4000,pause=0.05"),))
            job_id = store.create(spec).id
            ring(job_id, settings)
            log = settings.scratch_dir / job_id / "steps.log"
            wait_for(lambda: log.exists() and log.read_text().count("\n") > 20, "some steps", 60)
            os.kill(int(log.read_text().split()[1]), signal.SIGKILL)
            began = time.monotonic()
            wait_for(lambda: store.get(job_id).attempt == 2, "the next attempt", 90)
            seconds = time.monotonic() - began
            store.dismiss(job_id)
            wait_for(lambda: store.get(job_id).status is JobStatus.DISMISSED, "its end", 20)
            store.close()
    limit = 45
    broken = [] if seconds < limit else [f"{seconds:.1f} s, the limit is {limit} s"]
    return {"what": "takeover after kill -9", "seconds": round(seconds, 1), "broken": broken}


def real_pipeline() -> dict[str, Any]:
    command = [sys.executable, "-m", "pytest", "-q", "tests/chaos/test_real.py"]
    ended = subprocess.run(command, cwd=ROOT, env={**os.environ, "CHAOS": "1"}, check=False)
    broken = [] if ended.returncode == 0 else ["see above"]
    return {"what": "the real pipeline, killed and cancelled; a full disk", "broken": broken}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first run of kills")
    parser.add_argument("--kills", type=int, default=500, help="processes to kill, all together")
    options = parser.parse_args()
    broken = False
    for part in (every_point, takeover, real_pipeline):
        broken |= _say(part())
    for number, kills in enumerate(range(options.kills, 0, -KILLS_AT_ONCE)):
        report = nemesis.run(options.seed + number, min(kills, KILLS_AT_ONCE), pause=0.5)
        broken |= _say({"what": "nemesis", **report, "broken": report["violations"]})
    sys.exit(broken)


def _say(report: dict[str, Any]) -> bool:
    print(json.dumps(report), flush=True)
    return bool(report["broken"])


if __name__ == "__main__":
    main()
