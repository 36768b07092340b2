"""`make bench`: ratios of one run on one machine, which may be busy with other things too.

Quick (three minutes, small scenes) or `--full` (half an hour, real sizes). Writes
benchmarks/results/latest.json and the table of docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.speed import environment, table
from benchmarks.speed.scenes import SceneSize, scene

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
MODEL = "ground"
BANDS = 4
PEERS = ("windows", "map_overlap", "TorchGeo", "32 px tiles")


@dataclass(frozen=True)
class Plan:
    """Which scenes each figure is taken on.

    job: efficiency; peer: what the peers score; small, large: memory; cheap, dear: cost per
    megapixel; cluster: one and two workers; tiny: done before, for its imports; warm: a tile
    or two for each of the workers.
    every: of so many tiles of the job and of the dear one, one is scored again to time the network.
    turns: of one Dask worker and two, and rounds: of the network with each shape of tile, because
    a shared machine changes its speed meanwhile.
    """

    job: SceneSize
    peer: SceneSize
    small: SceneSize
    large: SceneSize
    cheap: SceneSize
    dear: SceneSize
    cluster: SceneSize
    tiny: SceneSize
    warm: SceneSize
    every: int
    turns: int
    rounds: int


QUICK = Plan(
    job=SceneSize(4096),
    peer=SceneSize(2048),
    small=SceneSize(2800, 10, 0.08),
    large=SceneSize(8900, 10, 0.02),
    cheap=SceneSize(2048),
    dear=SceneSize(4096),
    cluster=SceneSize(2048),
    tiny=SceneSize(512),
    warm=SceneSize(1024),
    every=2,
    turns=1,
    rounds=2,
)
FULL = Plan(
    job=SceneSize(10_980),
    peer=SceneSize(10_980),
    small=SceneSize(10_000, 10, 0.10),
    large=SceneSize(31_650, 10, 0.01),
    cheap=SceneSize(2048),
    dear=SceneSize(20_480),
    cluster=SceneSize(4096),
    tiny=SceneSize(512),
    warm=SceneSize(1024),
    every=8,
    turns=2,
    rounds=40,
)
"""10 bands of 2 bytes: 2 GB at 10,000 pixels a side, 20 GB at 31,650."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--full", action="store_true", help="real sizes: half an hour")
    parser.add_argument(
        "--memory",
        action="store_true",
        help="add what the peers need on the largest scene to the last results: ten minutes more",
    )
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench", help="scratch")
    parser.add_argument("--detector", default="auto", help="the network that is timed")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    latest = RESULTS / "latest.json"
    try:
        if options.memory:
            results = json.loads(latest.read_text())
            plan = FULL if results["form"] == "full" else QUICK
            bench = Bench(options.work, plan, results["detector"])
            results["raw"]["peers_large"] = bench.memory()
        else:
            bench = Bench(options.work, FULL if options.full else QUICK, options.detector)
            results = bench.run(full=options.full)
    except KeyboardInterrupt:
        print("\nstopped; the scenes that are made stay for the next time", file=sys.stderr)
        return 130
    RESULTS.mkdir(exist_ok=True)
    latest.write_text(json.dumps(results, indent=1) + "\n")
    print(table.markdown(results))
    table.insert(ROOT / "docs" / "performance.md", results)
    return 0


class Bench:
    def __init__(self, work: Path, plan: Plan, detector: str) -> None:
        self.work, self.plan, self.detector = work, plan, detector
        self.data = work / "data"
        self.model = f"{MODEL}-{detector}"

    def run(self, *, full: bool) -> dict[str, Any]:
        plan = self.plan
        peers = environment.peers(self.work / "peers")
        for bands, name in ((BANDS, self.model), (10, f"{self.model}-10")):
            self._train(bands, name)
        say("the network alone")
        network = self._child("network", model=self.model, bands=BANDS, rounds=plan.rounds)
        # The fastest peers just before it and after it.
        found = {name: self._peer(name, peers) for name in PEERS[:2]}
        same = self._timed(plan.peer, plan.every if plan.peer == plan.job else 1)
        found |= {name: self._peer(name, peers) for name in PEERS[2:]}
        job = same if plan.job == plan.peer else self._timed(plan.job, plan.every)
        small = self._detect(plan.small, f"{self.model}-10")
        large = self._detect(plan.large, f"{self.model}-10")
        cheap = same if plan.cheap == plan.peer else self._timed(plan.cheap, 1)
        dear = job if plan.dear == plan.job else self._timed(plan.dear, plan.every)
        turns = [self._workers() for _ in range(plan.turns)]
        best = min(each["seconds"] for each in found.values() if each)
        return {
            "efficiency": 1 / (_cost(job, plan.job) * network["faster"]),
            "vs_best_peer": best / same["seconds"],
            "peak_rss_gib_large": large["peak_gib"],
            "rss_ratio_large_small": large["peak_gib"] / small["peak_gib"],
            "cost_ratio_400_4": _cost(dear, plan.dear) / _cost(cheap, plan.cheap),
            "dask_speedup_2": _scoring(turns, "1") / _scoring(turns, "2"),
            "form": "full" if full else "quick",
            "detector": self.detector,
            "machine": machine(),
            "date": datetime.now(UTC).date().isoformat(),
            "sizes": {k: v for k, v in asdict(plan).items() if isinstance(v, dict)},
            "raw": {
                "network": network,
                "own": job,
                "peer_scene": same,
                "peers": found,
                "small": small,
                "large": large,
                "cheap": cheap,
                "dear": dear,
                "cluster": turns,
            },
        }

    def memory(self) -> dict[str, Any]:
        """Peers on the largest scene, without the network, with which each would take half an hour.

        They need no less with it.
        """
        peers = environment.peers(self.work / "peers")
        name = f"{self.model}-10"
        self._train(10, name)
        return {
            which: self._peer(which, peers, size=self.plan.large, model=name, scored=False)
            for which in PEERS
        }

    def _train(self, bands: int, name: str) -> None:
        path = scene(SceneSize(2048, bands), self._scenes)
        if (self.data / "models" / name).exists():
            return
        say(f"training {name}")
        command = Path(sys.executable).with_name("geoanomaly")
        subprocess.run(
            [
                str(command), "train", "--name", name, "--sensor", "generic",
                "--detector", self.detector, str(path),
            ],
            env={**os.environ, "GEOANOMALY_DATA_DIR": str(self.data)},
            check=True,
            capture_output=True,
        )  # fmt: skip

    def _timed(self, size: SceneSize, every: int) -> dict[str, Any]:
        """A job with the network's own speed while it ran."""
        return self._detect(size, self.model, first=self.plan.tiny, every=every)

    def _detect(
        self, size: SceneSize, model: str, first: SceneSize | None = None, **options: Any
    ) -> dict[str, Any]:
        """first: done before, in the same process."""
        path = scene(size, self._scenes)
        say(f"detect: {size.megapixels:,.0f} MP, {size.gigabytes:.1f} GB, {size.share:.0%} valid")
        what, arguments = "detect", {"scene": str(path), "model": model, **options}
        if first:
            what, arguments = "after", {**arguments, "first": str(scene(first, self._scenes))}
        return self._child(what, **arguments)

    def _peer(
        self,
        name: str,
        python: Path | None,
        size: SceneSize | None = None,
        model: str | None = None,
        **options: Any,
    ) -> dict[str, Any] | None:
        """On the scene that all peers score, with its model, unless another is said."""
        if python is None:
            return None
        path = scene(size or self.plan.peer, self._scenes)
        say(f"peer: {name}")
        arguments = {"scene": str(path), "model": model or self.model, **options}
        return self._child("peer", python, which=name, **arguments)

    def _workers(self) -> dict[str, Any]:
        return {str(workers): self._on_cluster(workers) for workers in (1, 2)}

    def _on_cluster(self, workers: int) -> dict[str, Any]:
        """As on a cluster that stands: its workers have started and imported before the job."""
        with dask_cluster(workers) as address:
            return self._detect(
                self.plan.cluster, self.model, self.plan.warm, dask_scheduler=address
            )

    @property
    def _scenes(self) -> Path:
        folder = self.work / "scenes"
        folder.mkdir(exist_ok=True)
        return folder

    def _child(self, what: str, python: Path | None = None, **arguments: Any) -> dict[str, Any]:
        done = subprocess.run(
            [
                str(python or sys.executable), "-m", "benchmarks.speed.child", what,
                json.dumps({**arguments, "data": str(self.data)}),
            ],
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{what} {arguments}: {done.stderr[-2000:]}")
        return dict(json.loads(done.stdout.splitlines()[-1]))


def _cost(run: dict[str, Any], size: SceneSize) -> float:
    """Seconds of a job, in those that the network alone would have taken at that time."""
    alone = size.megapixels / run["network"]["megapixels_per_second"]
    return float(run["seconds"] / alone)


def _scoring(turns: list[dict[str, Any]], workers: str) -> float:
    return float(sum(turn[workers]["steps"]["scoring"] for turn in turns))


@contextmanager
def dask_cluster(workers: int) -> Iterator[str]:
    """A scheduler and worker processes of one thread each."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=workers, threads_per_worker=1, dashboard_address=":0", processes=True
    ) as cluster:
        yield cluster.scheduler_address


def machine() -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "load_before": os.getloadavg()[0],
        "free_disk_gib": round(shutil.disk_usage(ROOT).free / 2**30, 1),
        "versions": {name: version(name) for name in ("torch", "rasterio", "dask", "numpy")},
    }


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
