"""A worker whose pipeline does what the job's first scene says: `steps=20,pause=0.05`.

Also `fail=input|bug` at the end, and `deaf=1` for a job without checkpoints. Every
step is entered in `steps.log` of the scratch folder (time, process, step) and done once:
a restarted job goes on behind the steps that it has there. The log is what is published.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from geoanomaly.errors import SceneError
from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec, Progress, Report, RunResult, silent
from tasks.worker import main


def run(
    spec: JobSpec, *, out: Path, scratch: Path, settings: Settings, report: Report
) -> RunResult:
    orders = dict(order.split("=") for order in spec.scenes[0].href.split(","))
    tell = silent if "deaf" in orders else report
    steps = int(orders["steps"])
    for step in range(len(list(scratch.glob("*[0-9]"))), steps):
        tell(Progress("scoring", 100 * step / steps, f"step {step}"))
        time.sleep(float(orders.get("pause", "0.02")))
        (scratch / str(step)).touch()
        with (scratch / "steps.log").open("a") as log:
            log.write(f"{time.time()} {os.getpid()} {step} {settings.threads}\n")
    if orders.get("fail") == "input":
        raise SceneError("a.tif has no pixels. Send another.", field="scene")
    if orders.get("fail") == "bug":
        raise ZeroDivisionError("oops")
    shutil.copy(scratch / "steps.log", out)
    return RunResult(("steps.log",))


if __name__ == "__main__":
    main(load=lambda: run)
