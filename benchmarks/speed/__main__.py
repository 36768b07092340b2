"""`make bench`: ratios of one run on one machine, which may be busy with other things too.

Quick (three minutes, small scenes) or `--full` (twenty minutes). Writes
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
from statistics import fmean
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

    job: efficiency and peers' comparison; peer: what the peers score, the slowest less;
    small, large: memory; cheap, dear: cost per megapixel; cluster: one and two workers;
    tiny: what does not depend on size; warm: a tile or two for each of the workers.
    rounds: times that the job is timed.
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
    rounds: int = 1


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
    rounds=2,
)
FULL = Plan(
    job=SceneSize(10_980),
    peer=SceneSize(4096),
    small=SceneSize(10_000, 10, 0.10),
    large=SceneSize(31_650, 10, 0.01),
    cheap=SceneSize(2048),
    dear=SceneSize(20_480),
    cluster=SceneSize(6144),
    tiny=SceneSize(512),
    warm=SceneSize(1024),
)
"""10 bands of 2 bytes: 2 GB at 10,000 pixels a side, 20 GB at 31,650."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--full", action="store_true", help="real sizes: twenty minutes")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench", help="scratch")
    parser.add_argument("--detector", default="auto", help="the network that is timed")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    try:
        bench = Bench(options.work, FULL if options.full else QUICK, options.detector)
        results = bench.run(full=options.full)
    except KeyboardInterrupt:
        print("\nstopped; the scenes that are made stay for the next time", file=sys.stderr)
        return 130
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.json").write_text(json.dumps(results, indent=1) + "\n")
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
        alone = self._efficiency()
        limit, jobs = alone["limit"], alone["jobs"]
        job = {**jobs[-1], "peak_gib": alone["peak_gib"]}
        # The fastest peers just before it and after it.
        found = {name: self._peer(name, peers) for name in PEERS[:2]}
        same = self._detect(plan.peer, self.model, first=plan.tiny)
        found |= {name: self._peer(name, peers) for name in PEERS[2:]}
        small = self._detect(plan.small, f"{self.model}-10")
        large = self._detect(plan.large, f"{self.model}-10")
        tiny = same["first"]
        cheap = same if plan.cheap == plan.peer else self._detect(plan.cheap, self.model)
        dear = job if plan.dear == plan.job else self._detect(plan.dear, self.model)
        cluster = {str(count): self._on_cluster(count) for count in (1, 2)}
        own_rate = plan.job.megapixels / fmean(each["seconds"] for each in jobs)
        best = min(each["seconds"] for each in found.values() if each)
        fixed = tiny["seconds"]
        return {
            "efficiency": own_rate / limit["megapixels_per_second"],
            "vs_best_peer": best / same["seconds"],
            "peak_rss_gib_large": large["peak_gib"],
            "rss_ratio_large_small": large["peak_gib"] / small["peak_gib"],
            "cost_ratio_400_4": ((dear["seconds"] - fixed) / plan.dear.megapixels)
            / ((cheap["seconds"] - fixed) / plan.cheap.megapixels),
            "dask_speedup_2": cluster["1"]["steps"]["scoring"] / cluster["2"]["steps"]["scoring"],
            "form": "full" if full else "quick",
            "detector": self.detector,
            "machine": machine(),
            "date": datetime.now(UTC).date().isoformat(),
            "sizes": {k: v for k, v in asdict(plan).items() if k != "rounds"},
            "raw": {
                "limit": limit,
                "own": job,
                "own_jobs": jobs,
                "peer_scene": same,
                "peers": found,
                "small": small,
                "large": large,
                "fixed": tiny,
                "cheap": cheap,
                "dear": dear,
                "cluster": cluster,
            },
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

    def _efficiency(self) -> dict[str, Any]:
        size, rounds = self.plan.job, self.plan.rounds
        path = scene(size, self._scenes)
        say(f"the network alone, and {rounds} x detect: {size.megapixels:,.0f} MP")
        return self._child(
            "efficiency",
            scene=str(path),
            first=str(scene(self.plan.tiny, self._scenes)),
            model=self.model,
            bands=BANDS,
            rounds=rounds,
        )

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

    def _peer(self, name: str, python: Path | None) -> dict[str, Any] | None:
        if python is None:
            return None
        say(f"peer: {name}")
        path = scene(self.plan.peer, self._scenes)
        return self._child("peer", python, which=name, scene=str(path), model=self.model)

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
