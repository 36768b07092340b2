"""How long a job will take, from the jobs that this service has done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median

from geoanomaly.detectors import chosen_detector
from geoanomaly.types import Job, JobSpec, JobStatus, Price, Process
from web.service import Service

LOOK_BACK = 30
CONSIDERED = 9


@dataclass(frozen=True)
class Pace:
    """learning: seconds whatever the size (a detector learns from a bounded sample);
    per_pixel: seconds of everything that grows with it."""

    learning: float
    per_pixel: float


@dataclass(frozen=True)
class Estimate:
    """jobs: how many earlier jobs it rests on; 0 = on a machine with two cores."""

    seconds: float
    jobs: int


TYPICAL = Pace(learning=40.0, per_pixel=12e-6)
"""The default detectors on two cores."""


def estimate(parts: Service, spec: JobSpec, price: Price) -> Estimate:
    """Seconds from the start of the job, without the jobs that wait before it."""
    if spec.process is Process.TRAIN_MODEL:
        seconds = [_seconds(job) for job in _earlier(parts, spec)]
        return Estimate(median(seconds) if seconds else TYPICAL.learning, len(seconds))
    paces = [pace for job in _earlier(parts, spec) if (pace := _pace_of(parts, job))]
    paces = paces[:CONSIDERED]
    learning = median(pace.learning for pace in paces) if paces else TYPICAL.learning
    per_pixel = median(pace.per_pixel for pace in paces) if paces else TYPICAL.per_pixel
    # A model that is there already has been learnt.
    fixed = 0.0 if spec.model else learning
    return Estimate(fixed + per_pixel * price.pixels, len(paces))


def _earlier(parts: Service, spec: JobSpec) -> Iterator[Job]:
    """Jobs that did the same work, newest first."""
    wanted = chosen_detector(spec.process, spec.detector).name
    done = parts.store.list(status=JobStatus.SUCCESSFUL, process=spec.process, limit=LOOK_BACK)
    for job in done:
        found = chosen_detector(job.spec.process, job.spec.detector).name
        if found == wanted and job.spec.model == spec.model:
            yield job


def _seconds(job: Job) -> float:
    assert job.started is not None, "it has ended well"
    assert job.finished is not None
    return (job.finished - job.started).total_seconds()


def _pace_of(parts: Service, job: Job) -> Pace | None:
    path = parts.output(job, "run.json")
    return _pace(path) if path else None


@lru_cache(maxsize=256)
def _pace(path: Path) -> Pace | None:
    """From the report of a run; None for one that does not tell."""
    try:
        report = json.loads(path.read_text())
        seconds, (height, width) = report["seconds"], report["grid"]["shape"]
        spent = {
            name: float(seconds[name]) for name in ("reading", "fitting", "scoring", "writing")
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Pace(
        spent["reading"] + spent["fitting"],
        (spent["scoring"] + spent["writing"]) / (height * width),
    )
