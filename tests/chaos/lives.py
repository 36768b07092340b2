"""`python -m tests.chaos.lives FOLDER short|whole [LIFE]`: jobs whose processes die at each point.

A life is lived once undisturbed, in a process of its own. Then, for each point, a process
is killed there and another one goes on, as after a crash: the client that got no answer
asks again with its idempotency key, the broker has forgotten everything, a sweep finds
that the worker fell silent. What is there at the end must be what the undisturbed life
left. Prints one line of JSON a death: life, point, side, and what differs ("" = nothing).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from sqlalchemy import select

from geoanomaly.errors import SceneError
from geoanomaly.jobs import JobStore
from geoanomaly.jobs.states import LEGAL
from geoanomaly.jobs.tables import jobs
from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec, Process, Progress, Report, RunResult, Scene
from tasks import heartbeat, run, sweep
from tasks.run import Runner
from tests.chaos.points import Death, Points, sides, watch_all
from tests.rasters import NORTH_UP, UTM
from tiling.cog import CogProfile, whole_file, write_cog
from tiling.grid import TileGrid
from tiling.scratch import TileStore

KEY = "the client's key"
GRID = TileGrid(GeoBox((128, 128), NORTH_UP, UTM), 64)


def pipeline(spec: JobSpec, *, out: Path, scratch: Path, report: Report, **_: object) -> RunResult:
    """The real one's writes, without its thinking: chunks, a kept file, a COG, a text."""
    report(Progress("reading", 0, "opening the scenes"))
    kept = scratch / "model" / "model.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(kept) as partial:
            partial.write_text("{}")
    store = TileStore(scratch / "surprise.zarr")
    store.create(GRID)
    for number, tile in enumerate(store.missing(GRID)):
        report(Progress(f"tile {number}", 40 + number, ""))
        store.write(tile, np.full(tile.shape, sum(tile.index), np.float32))
    if spec.scenes[0].href == "bad.tif":
        raise SceneError("bad.tif has no pixels.", field="scene")
    report(Progress("writing", 90, "heatmap"))
    profile = CogProfile("float32", np.nan, "surprise")
    write_cog(out / "heatmap.tif", GRID.geobox, profile, store.cores(GRID))
    with whole_file(out / "run.json") as partial:
        partial.write_text(json.dumps(spec.to_json()))
    return RunResult(("heatmap.tif", "run.json"))


class World:
    """One folder with its database; the doorbell is a list of ids that dies with the process."""

    def __init__(self, folder: Path, points: Points) -> None:
        self.settings = Settings(data_dir=folder, threads=1, sweep_seconds=1e-4, max_attempts=9)
        self.bell: list[str] = []
        ring = points.counted(self._ring, "ring")
        run.ring = sweep.ring = ring  # type: ignore[attr-defined]
        sweep.waiting = lambda _: len(self.bell)  # type: ignore[attr-defined]
        self.ring, self.answer = ring, points.counted(self._answer, "answer")
        self.ack = points.counted(lambda _: None, "acknowledge")
        # Every look at this clock is a while later: a sweep finds silent what nobody renews.
        steady = partial(next, itertools.count(step=8))
        self.store = JobStore(self.settings.database, steady=steady)
        self.stopping = threading.Event()

    def _ring(self, job_id: str, _: Settings) -> bool:
        self.bell.append(job_id)
        return True

    def _answer(self, job_id: str) -> None:
        """The 201: from here on the client relies on it."""
        with (self.settings.data_dir / "answered").open("w") as file:
            file.write(job_id)

    @property
    def answered(self) -> str:
        file = self.settings.data_dir / "answered"
        return file.read_text() if file.exists() else ""

    def submit(self, spec: JobSpec) -> str:
        if not self.answered:
            job = self.store.create(spec, idempotency_key=KEY)
            self.ring(job.id, self.settings)
            self.answer(job.id)
        return self.answered

    def work(self) -> None:
        """Answer every ring, as one worker does."""
        runner = Runner(self.store, self.settings, lambda: pipeline, self.stopping)
        while self.bell:
            job_id = self.bell.pop(0)
            runner.run(job_id)
            self.ack(job_id)

    def recover(self) -> None:
        """Sweeps and work until nothing is left to do."""
        for _ in range(8):
            sweep.sweep(self.store, self.settings)
            self.work()


SPEC = JobSpec(Process.DETECT_ANOMALY, (Scene("a.tif"),))


def detected(world: World) -> None:
    world.submit(SPEC)
    world.work()
    world.recover()


def failed(world: World) -> None:
    world.submit(JobSpec(Process.DETECT_ANOMALY, (Scene("bad.tif"),)))
    world.work()
    world.recover()


def trained(world: World) -> None:
    """A model takes the place of one of the same name."""
    old = world.settings.models_dir / "forest"
    if not old.exists() and not world.answered:
        old.mkdir(parents=True)
        (old / "heatmap.tif").write_text("the old one")
    world.submit(JobSpec(Process.TRAIN_MODEL, (Scene("a.tif"),), name="forest"))
    world.work()
    world.recover()


def dismissed(world: World) -> None:
    """Cancelled while its worker is between two tiles."""
    job_id = world.submit(SPEC)
    real = run.reporter

    def reporter(*given: Any) -> Report:
        report = real(*given)

        def cancel(progress: Progress) -> None:
            if progress.stage == "tile 2":
                world.store.dismiss(job_id)
            report(progress)

        return cancel

    run.reporter = reporter
    world.work()
    run.reporter = real
    world.store.dismiss(job_id)
    world.recover()


def handed_back(world: World) -> None:
    """Its worker shuts down in the middle, another one ends it."""
    world.submit(SPEC)
    world.stopping.set()
    if world.bell:
        runner = Runner(world.store, world.settings, lambda: pipeline, world.stopping)
        runner.run(world.bell.pop(0))
    world.stopping.clear()
    world.work()
    world.recover()


LIVES: Mapping[str, Callable[[World], None]] = {
    life.__name__: life for life in (detected, failed, trained, dismissed, handed_back)
}


ENDS = {
    "detected": "successful",
    "failed": "failed",
    "trained": "successful",
    "dismissed": "dismissed",
    "handed_back": "successful",
}


def live(life: str, folder: Path, death: Death | None = None) -> int:
    """In a process of its own; how it ended, as `os.waitpid` says."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            # A beat of the heart between two calls would change their numbers.
            heartbeat.BEATS_PER_LEASE = 0.05  # type: ignore[assignment]
            heartbeat.LONGEST_BEAT_SECONDS = 600.0
            points = Points(death)
            watch_all(points)
            world = World(folder, points)
            LIVES[life](world)
            (folder / "points").write_text("\n".join(points.names))
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def state(folder: Path) -> dict[str, Any]:
    """What is there at the end, without names that chance gives."""
    store = JobStore(Settings(data_dir=folder).database)
    with store._read() as conn:
        rows = conn.execute(select(jobs)).all()
    history = [store.history(row.id) for row in rows]
    store.close()
    names = {row.id: f"job {number}" for number, row in enumerate(rows)}
    return {
        "jobs": [(row.status, row.outputs, row.idempotency_key, row.owner) for row in rows],
        "ended": [sum(step.target.final for step in steps) for steps in history],
        "illegal": [
            (step.source, step.target)
            for steps in history
            for step, before in zip(steps, [None, *(s.target for s in steps)], strict=False)
            if step.source != before or step.target not in LEGAL[step.source]
        ],
        "fences": all(a.fence <= b.fence for steps in history for a, b in pairwise(steps)),
        "files": sorted(
            (names.get(part := path.relative_to(folder).parts[1], part), path.name, _digest(path))
            for place in ("jobs", "scratch", "models")
            for path in (folder / place).rglob("*")
            if not path.is_dir()
        ),
        "folders": sorted(
            str(len(path.relative_to(folder).parts))
            for place in ("jobs", "scratch")
            for path in (folder / place).rglob("*")
            if path.is_dir() and path.name not in names and path.name != ".writing"
        ),
    }


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def main() -> None:
    root, whole = Path(sys.argv[1]), sys.argv[2] == "whole"
    for life in sys.argv[3:] or LIVES:
        assert os.waitstatus_to_exitcode(live(life, root / life)) == 0, life
        expected = state(root / life)
        assert expected["jobs"][0][0] == ENDS[life], expected
        names = (root / life / "points").read_text().split("\n")
        for number, name in enumerate(names):
            for side in sides(name, whole=whole):
                print(json.dumps(_disturbed(life, root, Death(number, side), name, expected)))
                sys.stdout.flush()


def _disturbed(
    life: str, root: Path, death: Death, name: str, expected: dict[str, Any]
) -> dict[str, Any]:
    folder = root / f"{life}-{death.number}-{death.side.value.split()[0]}"
    ended = os.waitstatus_to_exitcode(live(life, folder, death))
    again = os.waitstatus_to_exitcode(live(life, folder))
    found = state(folder)
    differs = {key: found[key] for key in expected if found[key] != expected[key]}
    if ended != -signal.SIGKILL:
        differs["not killed"] = ended
    if again != 0:
        differs["recovery ended"] = again
    place = f"{death.number} {name}"
    return {"life": life, "point": place, "side": death.side, "differs": differs or ""}


if __name__ == "__main__":
    main()
