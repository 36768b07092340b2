"""One measured run in a process of its own: `python -m benchmarks.speed.child WHAT JSON`.

Prints one line of JSON: seconds of the work itself (not of starting Python and importing),
peak resident memory in GiB, and what else the run says.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from torch.utils.flop_counter import FlopCounterMode

from geoanomaly import compute
from geoanomaly.budget import set_limits
from geoanomaly.models import Model, load_model
from geoanomaly.pipeline import run
from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec, Process, Progress, Scene
from tiling.types import TileBatch

SHAPES = (256, 384, 512, 768)
LOOK, SECONDS = 1.0, 5.0
"""Spent on each shape to find the best one, and then each time that the network is timed. For a
second or two a shared machine may be faster than it can be for long.
"""


def after(scene: str, first: str, model: str, data: str, **options: Any) -> dict[str, Any]:
    """A job in a process that has done another one; "first": what that took."""
    before = detect(first, model, data, **options)
    return {**detect(scene, model, data, **options), "first": before}


def detect(scene: str, model: str, data: str, **options: Any) -> dict[str, Any]:
    """The job as the command runs it, after its checks."""
    settings = Settings(data_dir=Path(data), max_pixels=10**11, **options)
    set_limits(settings)
    spec = JobSpec(
        Process.DETECT_ANOMALY,
        (Scene(scene, sensor="generic"),),
        model=model,
    )
    seen: list[tuple[float, Progress]] = []
    with TemporaryDirectory(dir=data) as folder:
        out = Path(folder) / "out"
        start = time.perf_counter()
        result = run(
            spec,
            out=out,
            scratch=Path(folder) / "scratch",
            settings=settings,
            report=lambda progress: seen.append((time.perf_counter() - start, progress)),
        )
        seconds = time.perf_counter() - start
        with (out / "heatmap.tif").open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"seconds": seconds, "steps": result.summary["seconds"], "sha256": digest}


def efficiency(
    scene: str, first: str, model: str, data: str, bands: int, rounds: int
) -> dict[str, Any]:
    """Jobs, and the network alone before and after each: megapixels a second at its best shape.

    In turns, because the machine's own speed changes while others use it. first: done before,
    because the first job of a process imports much.
    """
    detect(first, model, data)
    settings = Settings(data_dir=Path(data))
    set_limits(settings)
    loaded = load_model(settings.models_dir / model)

    def rate(shape: int, seconds: float = SECONDS) -> float:
        batch = _batch(shape + 2 * loaded.detector.halo, bands)
        return _rate(loaded, batch, settings.threads, seconds) * shape**2 / 1e6

    shapes = {shape: rate(shape, LOOK) for shape in SHAPES}
    best = max(shapes, key=shapes.__getitem__)
    rates, jobs = [rate(best)], []
    for _ in range(rounds):
        jobs.append(detect(scene, model, data))
        rates.append(rate(best))
    return {
        "limit": {
            "megapixels_per_second": fmean(rates),
            "shape": best,
            "all": shapes,
            "rates": rates,
            "kflop_per_pixel": _kflop(loaded, bands),
        },
        "jobs": jobs,
    }


def _kflop(model: Model, bands: int, side: int = 512) -> float:
    """Of the network's products and filters for one pixel of a tile's core."""
    batch = _batch(side + 2 * model.detector.halo, bands)
    with FlopCounterMode(display=False) as counter:
        model.detector.score((batch,))
    return float(counter.get_total_flops() / side**2 / 1000)


def _batch(side: int, bands: int) -> TileBatch:
    data = np.random.default_rng(0).normal(2000, 300, (1, bands, side, side)).astype(np.float32)
    return TileBatch(data, np.ones((1, side, side), dtype=bool))


def _rate(model: Model, batch: TileBatch, threads: int, seconds: float) -> float:
    """Batches a second, on as many threads as a job has."""
    from concurrent.futures import ThreadPoolExecutor

    compute.use_one_thread_each()

    def work(until: float) -> int:
        compute.use_one_thread_each()
        done = 0
        while time.perf_counter() < until:
            model.detector.score((batch,))
            done += 1
        return done

    model.detector.score((batch,))
    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        done = sum(pool.map(work, [start + seconds] * threads))
    return done / (time.perf_counter() - start)


def peer(which: str, scene: str, model: str, data: str) -> dict[str, Any]:
    """The same network on the same scene, as one would write it without this project."""
    from benchmarks.speed.peers import PEERS

    settings = Settings(data_dir=Path(data))
    loaded = load_model(settings.models_dir / model)
    torch.set_num_threads(settings.threads)

    def surprise(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, band, y, x) with the halo around -> (n, y, x) without."""
        halo = loaded.detector.halo
        score = loaded.detector.score((TileBatch.from_nan(batch),))
        return loaded.calibration.surprise(score[:, halo:-halo, halo:-halo])

    with TemporaryDirectory(dir=data) as folder:
        out = Path(folder) / "heatmap.tif"
        start = time.perf_counter()
        PEERS[which](scene, out, surprise, loaded.detector.halo)
        seconds = time.perf_counter() - start
        with rasterio.open(out) as raster:
            corner = raster.read(1, window=Window(0, 0, 64, 64))
    return {"seconds": seconds, "finite": bool(np.isfinite(corner).any())}


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    works: dict[str, Callable[..., dict[str, Any]]] = {
        "detect": detect,
        "after": after,
        "efficiency": efficiency,
        "peer": peer,
    }
    found = works[sys.argv[1]](**json.loads(sys.argv[2]))
    print(json.dumps({**found, "peak_gib": peak_gib()}))
