"""`python -m tests.chaos.nemesis --seed 1 --kills 100`: clients, and somebody who kills.

Web server, broker, Valkey, workers and their pool children are killed, stopped for a
while, asked to end, robbed of the broker's memory and put on clocks that jump, while
clients submit, repeat and dismiss. Then all is left alone until every job has ended, and
every promise is checked. Prints one line of JSON; ends with 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import select

from geoanomaly.jobs import JobStore
from geoanomaly.jobs.tables import jobs
from geoanomaly.service import free_port
from geoanomaly.settings import Settings
from geoanomaly.types import JobStatus
from tests.chaos import verdict, worker
from tests.chaos.client import Clients
from tests.chaos.house import House
from tests.rasters import texture, write_raster
from tests.services import wait_for

VICTIMS = ("web", "broker", "worker-1", "worker-2")
SETTLE_SECONDS = 120.0


@dataclass
class Deeds:
    """What was done to whom."""

    counts: Counter[str] = field(default_factory=Counter)

    @property
    def kills(self) -> int:
        return sum(n for what, n in self.counts.items() if what.startswith("SIGKILL"))


def settings_in(folder: Path) -> Settings:
    """Short leases, so that an hour of failures fits into minutes. Kills count as attempts: their
    limit is tried elsewhere."""
    return Settings(
        data_dir=folder / "data",
        scene_roots=(folder / "scenes",),
        lease_seconds=2.0,
        sweep_seconds=0.4,
        max_attempts=10_000,
        threads=1,
    )


def torment(
    house: House, store: JobStore, chance: random.Random, kills: int, pause: float
) -> Deeds:
    """Until so many processes were killed; every other deed comes on top."""
    deeds = Deeds()
    while deeds.kills < kills:
        time.sleep(chance.uniform(0, 2 * pause))
        # Half of the deeds wait for somebody who works: the others hit most while they start.
        working = _working(store, seconds=4.0) if chance.random() < 0.5 else []
        if working:
            what, victim = "working child", chance.choice(working)
            time.sleep(chance.uniform(0, worker.TILES * worker.TILE_SECONDS))
        else:
            name = chance.choice(VICTIMS)
            living = house.processes(name)
            if not living:
                continue
            victim = chance.choice(living)
            what = f"{name} {'leader' if victim is living[0] else 'child'}"
        dice = chance.random()
        if dice < 0.70:
            if house.signal(victim, signal.SIGKILL):
                deeds.counts[f"SIGKILL {what}"] += 1
        elif dice < 0.82:
            if house.signal(victim, signal.SIGSTOP):
                deeds.counts[f"SIGSTOP {what}"] += 1
                time.sleep(chance.choice((0.1, 0.5, 3.0)))
                house.signal(victim, signal.SIGCONT)
        elif dice < 0.90:
            if house.signal(victim, signal.SIGTERM):
                deeds.counts[f"SIGTERM {what}"] += 1
        elif dice < 0.95:
            house.jump(chance)
            deeds.counts["clock jumped"] += 1
        else:
            house.forget_rings()
            deeds.counts["SIGKILL broker, memory wiped"] += 1
    return deeds


def run(seed: int, kills: int, pause: float) -> dict[str, Any]:
    """One run; `violations` is empty when all is well."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
    settings = settings_in(folder)
    settings.scene_roots[0].mkdir()
    scene = write_raster(settings.scene_roots[0] / "scene.tif", texture(1, 3, 128, 128))
    port = free_port("127.0.0.1", 0)
    began = time.monotonic()
    house = House(settings, port, "tests.chaos.worker")
    try:
        clients = Clients(f"http://127.0.0.1:{port}", scene, seed, 3, under_way=6)
        store = JobStore(settings.database)
        wait_for(lambda: store.counts()[JobStatus.SUCCESSFUL] > 1, "the first jobs", 90)
        deeds = torment(house, store, random.Random(seed), kills, pause)
        clients.stop()
        settled = _settle(store)
        store.close()
    finally:
        house.close()
    history = clients.history
    found = verdict.violations(settings, history, _expected)
    found += [f"still there: {line}" for line in house.left()]
    again = _computed_again(settings)
    if not found:
        shutil.rmtree(folder)
    return {
        "seed": seed,
        "kills": deeds.kills,
        "deeds": dict(sorted(deeds.counts.items())),
        "jobs": len(history.promises),
        "dismissed": sum(promise.dismissed for promise in history.promises.values()),
        "repeated": history.repeated,
        "unanswered": history.refused_connections,
        "settled after s": settled,
        "tiles computed again": again,
        "seconds": round(time.monotonic() - began),
        "violations": found,
        **({"folder": str(folder)} if found else {}),
    }


def _working(store: JobStore, seconds: float) -> list[psutil.Process]:
    """The processes that hold leases, waiting a while for one: their owners are HOST:PID."""
    found: list[psutil.Process] = []
    give_up = time.monotonic() + seconds
    while not found and time.monotonic() < give_up:
        time.sleep(0.02)
        with store.database.read() as conn:
            owners = conn.execute(select(jobs.c.owner).where(jobs.c.owner.is_not(None))).scalars()
            pids = [int(owner.rpartition(":")[2]) for owner in owners]
        for pid in pids:
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
    return found


def _settle(store: JobStore) -> float:
    """Seconds until every job has ended, once nobody does harm any more."""
    began = time.monotonic()
    while time.monotonic() - began < SETTLE_SECONDS:
        counts = store.counts()
        if counts[JobStatus.ACCEPTED] + counts[JobStatus.RUNNING] == 0:
            break
        time.sleep(0.1)
    return round(time.monotonic() - began, 1)


def _expected(seed: int) -> str:
    return hashlib.sha256(worker.result(seed)).hexdigest()


def _computed_again(settings: Settings) -> int:
    """Tiles that were computed more than once: their worker died before they were committed."""
    lines = Counter((settings.data_dir / "ledger").read_text().splitlines())
    return sum(count - 1 for count in lines.values())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.nemesis", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=100, help="processes to kill")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between deeds, mean")
    options = parser.parse_args()
    report = run(options.seed, options.kills, options.pause)
    print(json.dumps(report), flush=True)
    sys.exit(bool(report["violations"]))


if __name__ == "__main__":
    main()
