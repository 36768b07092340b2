"""What is measured, each in a process of its own (`child`)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from torch.utils.flop_counter import FlopCounterMode

from geoanomaly import compute, pipeline
from geoanomaly.budget import set_limits
from geoanomaly.fitting import model_for
from geoanomaly.models import Model, load_model
from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec, Process, Scene
from tiling.types import TileBatch


def after(
    scene: str, first: str, model: str, data: str, every: int = 0, **options: Any
) -> dict[str, Any]:
    """A job in a process that has done another one, which imports much; "first": what that took."""
    before = detect(first, model, data, **options)
    return {**detect(scene, model, data, every, **options), "first": before}


def detect(scene: str, model: str, data: str, every: int = 0, **options: Any) -> dict[str, Any]:
    """The job as the command runs it, after its checks.

    every: of so many tiles one is scored again, to time the "network" alone.
    """
    settings = Settings(data_dir=Path(data), max_pixels=10**11, **options)
    set_limits(settings)
    spec = JobSpec(
        Process.DETECT_ANOMALY,
        (Scene(scene, sensor="generic"),),
        model=model,
    )
    alone = NetworkAlone(every)
    with TemporaryDirectory(dir=data) as folder, alone.watching():
        out = Path(folder) / "out"
        start = time.perf_counter()
        result = pipeline.run(
            spec,
            out=out,
            scratch=Path(folder) / "scratch",
            settings=settings,
            report=lambda _: None,
        )
        seconds = time.perf_counter() - start
        with (out / "heatmap.tif").open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    steps, extra = dict(result.summary["seconds"]), sum(alone.seconds) / settings.threads
    steps["scoring"] -= extra
    return {
        "seconds": seconds - extra,
        "steps": steps,
        "sha256": digest,
        "network": alone.told(settings.threads) if every else None,
    }


class NetworkAlone:
    """Times a network while a job runs: what it has just scored, it scores again from memory.

    A shared machine changes its speed by a third from one half minute to the next, so that what
    is timed before or after a job says little of it.
    """

    def __init__(self, every: int) -> None:
        self.seconds: list[float] = []
        self._every, self._number = every, count()
        self._pixels = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        if not self._every:
            yield
            return

        def watched(*arguments: Any) -> Model:
            model = model_for(*arguments)
            return replace(model, detector=_Watched(model.detector, self))

        with patch("geoanomaly.pipeline.model_for", watched):
            yield

    def score(self, detector: Any, batches: tuple[TileBatch, ...]) -> NDArray[np.float32]:
        found = np.asarray(detector.score(batches))
        if next(self._number) % self._every == 0:
            start = time.perf_counter()
            detector.score(batches)
            self.seconds.append(time.perf_counter() - start)
            height, width = (side - 2 * detector.halo for side in found.shape[1:])
            self._pixels += height * width
        return found

    def told(self, threads: int) -> dict[str, Any]:
        rate = self._pixels * threads / sum(self.seconds) / 1e6
        return {"megapixels_per_second": rate, "tiles": len(self.seconds)}


@dataclass(frozen=True)
class _Watched:
    detector: Any
    clock: NetworkAlone

    def score(self, batches: tuple[TileBatch, ...]) -> NDArray[np.float32]:
        return self.clock.score(self.detector, batches)

    def to(self, device: torch.device) -> _Watched:
        return replace(self, detector=self.detector.to(device))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.detector, name)


OWN: int = Settings.model_fields["tile_size"].default
SHAPES = (256, 384, OWN, 768)
SECONDS = 0.25


def network(model: str, data: str, bands: int, rounds: int) -> dict[str, Any]:
    """What a pixel costs, and how much faster than at the job's shape it is at the best one.

    In turns, for the same reason. Which shape is best every other turn says; how much faster it
    is, the others: the largest of noisy figures is too large.
    """
    settings = Settings(data_dir=Path(data))
    set_limits(settings)
    loaded = load_model(settings.models_dir / model)
    batches = {shape: _batch(shape + 2 * loaded.detector.halo, bands) for shape in SHAPES}

    def rate(shape: int) -> float:
        return _rate(loaded, batches[shape], settings.threads, SECONDS) * shape**2

    turns = [{shape: rate(shape) for shape in SHAPES} for _ in range(rounds)]
    chosen, measured = (_relative(part) for part in (turns[::2], turns[1::2]))
    best = max(chosen, key=chosen.__getitem__)
    return {
        "shape": best,
        "faster": max(measured[best], 1.0),
        "all": _relative(turns),
        "kflop_per_pixel": _kflop(loaded, batches[OWN], OWN),
    }


def _relative(turns: Sequence[dict[int, float]]) -> dict[int, float]:
    """Rates at each shape, in those at the job's own."""
    return {shape: median(turn[shape] / turn[OWN] for turn in turns) for shape in SHAPES}


def _kflop(model: Model, batch: TileBatch, side: int) -> float:
    """Of the network's products and filters for one pixel of a tile's core."""
    with FlopCounterMode(display=False) as counter:
        model.detector.score((batch,))
    return float(counter.get_total_flops() / side**2 / 1000)


def _batch(side: int, bands: int) -> TileBatch:
    data = np.random.default_rng(0).normal(2000, 300, (1, bands, side, side)).astype(np.float32)
    return TileBatch(data, np.ones((1, side, side), dtype=bool))


def _rate(model: Model, batch: TileBatch, threads: int, seconds: float) -> float:
    """Batches a second, on as many threads as a job has.

    Each thread by its own clock: one that waits for the other's last batch would make shapes look
    slow whose batches just miss the end.
    """
    compute.use_one_thread_each()

    def work(_: int) -> float:
        compute.use_one_thread_each()
        done, start = 0, time.perf_counter()
        while time.perf_counter() < start + seconds:
            model.detector.score((batch,))
            done += 1
        return done / (time.perf_counter() - start)

    model.detector.score((batch,))
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, range(threads)))


def peer(which: str, scene: str, model: str, data: str, scored: bool = True) -> dict[str, Any]:
    """The same network on the same scene, as one would write it without this project.

    scored: by the network; without it a scene of any size takes minutes, and at least as
    much memory is needed with it.
    """
    from benchmarks.speed.peers import PEERS

    settings = Settings(data_dir=Path(data))
    loaded = load_model(settings.models_dir / model)
    torch.set_num_threads(settings.threads)

    def surprise(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, band, y, x) with the halo around -> (n, y, x) without."""
        halo = loaded.detector.halo
        if not scored:
            return np.zeros_like(batch[:, 0, halo:-halo, halo:-halo])
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


WORKS: dict[str, Callable[..., dict[str, Any]]] = {
    "detect": detect,
    "after": after,
    "network": network,
    "peer": peer,
}
