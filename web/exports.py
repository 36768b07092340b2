"""Exports are made in threads of their own, followed while they are, and kept for a while.

A finished file lies on disk under the digest of what was asked, so that any process of the
service can hand it out. Who asks follows the making; one that nobody follows stops.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from geoanomaly.errors import JobCancelledError
from geoanomaly.results.rasters import HEATMAP, MASK
from geoanomaly.types import Job, Progress, Report
from web.layers import Layer, layer_path, styles
from web.problems import UnknownFileError
from web.results import Result
from web.service import Service

if TYPE_CHECKING:
    from geoanomaly.results.pictures import Backdrop
    from geoanomaly.results.source import Source

COMPANIONS = ("heatmap.qml", "item.json", "run.json")
AT_A_TIME = 2
"""Exports made by one process at once; the others wait."""

KEPT_SECONDS = 3600
LOOK_SECONDS = 0.25

_MAKERS = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="export")


@dataclass(frozen=True)
class Order:
    """One export: a file of `geoanomaly.results.exports.NAMES`, at a threshold, in a CRS."""

    parts: Service
    result: Result
    name: str
    threshold: float
    crs: str | None

    @property
    def path(self) -> Path:
        """Where it lies once it is made, or has lain since the run."""
        return self.published(self.name) or self.kept

    def published(self, name: str) -> Path | None:
        """The run's own raster, where that is just what is asked for."""
        as_run = self.crs is None and self.threshold == self.result.threshold
        rasters = (HEATMAP, MASK) if as_run else ()
        return self.parts.output(self.result.job, name) if name in rasters else None

    @property
    def kept(self) -> Path:
        """Where it is made, under the digest of what was asked."""
        said = [str(vars(each)) for each in self.parts.store.judgements(self.result.job.id)]
        asked = [self.name, round(self.threshold, 6), self.crs, said]
        seed = [self.result.job.id, self.result.heatmap.stat().st_mtime_ns, *asked]
        digest = hashlib.sha256(json.dumps(seed).encode()).hexdigest()
        return self.parts.settings.exports_dir / digest[:32] / self.name

    def make(self, path: Path, report: Report) -> None:
        """The file appears whole, or not at all."""
        # Imported when first needed: it takes geopandas along.
        from geoanomaly.results import exports

        report(Progress("reading", 0))
        root = path.parent.parent
        _tidy(root)
        with tempfile.TemporaryDirectory(dir=root, prefix=".making-") as folder:
            made = Path(folder) / "made"
            made.mkdir()
            exports.write(self._source(), self.name, made, report)
            # Not over one that somebody else has made meanwhile: it may be on its way.
            with suppress(OSError):
                made.rename(path.parent)

    def _source(self) -> Source:
        from geoanomaly.results.source import Source

        parts, job, report = self.parts, self.result.job, self.result.report
        return Source(
            heatmap=self.result.heatmap,
            hot=self.result.hot,
            regions=self.result.regions(self.threshold),
            judgements={each.key: each for each in parts.store.judgements(job.id)},
            backdrops=tuple(_backdrops(parts, job)),
            threshold=max(self.threshold, self.result.hot.floor),
            crs=self.crs,
            ready={name: path for name in (HEATMAP, MASK) if (path := self.published(name))},
            companions=tuple(path for name in COMPANIONS if (path := parts.output(job, name))),
            basis=report.get("model", {}).get("calibration_kind", ""),
            doubts=tuple(report.get("comparability", {}).get("reasons", ())),
            dates=tuple(scene.date for scene in job.spec.scenes if scene.date),
        )


def _backdrops(parts: Service, job: Job) -> Iterator[Backdrop]:
    """The scenes that are still there, in their default colours."""
    from geoanomaly.results.pictures import Backdrop

    for layer, title in ((Layer.BEFORE, "Before"), (Layer.AFTER, "After")):
        if layer is Layer.BEFORE and job.spec.before is None:
            continue
        try:
            path = layer_path(parts, job, layer)
        except UnknownFileError:
            continue
        style = styles(job, layer, path)[0]
        yield Backdrop(title if job.spec.before else "Scene", path, style.bands, style.stretch)


def _tidy(root: Path) -> None:
    """Leave out what has not been asked for lately, and what a killed process has left."""
    root.mkdir(parents=True, exist_ok=True)
    for folder in root.iterdir():
        with suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > KEPT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


async def follow(order: Order, path: Path) -> AsyncGenerator[Progress]:
    """How far the making of `order` is, until it lies at `path`; the making's errors are raised.

    Who leaves the loop stops the making, at its next tile.
    """
    if path.is_file():
        if path.is_relative_to(order.parts.settings.exports_dir):
            os.utime(path.parent)
        return
    left = threading.Event()
    latest = Progress("waiting", 0)

    def report(progress: Progress) -> None:
        nonlocal latest
        latest = progress
        if left.is_set():
            raise JobCancelledError(f"Nobody waits for {order.name} any more.")

    making = asyncio.wrap_future(_MAKERS.submit(order.make, path, report))
    # An error of a making that was left is nobody's.
    making.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        while not making.done():
            yield latest
            await asyncio.wait({making}, timeout=LOOK_SECONDS)
        making.result()
    finally:
        left.set()
