"""One job from its spec to its published files. Reads as a table of contents."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from geoanomaly import compute, unfinished
from geoanomaly.fitting import model_for, train
from geoanomaly.history import stacked
from geoanomaly.pairs.comparability import Comparability, compared
from geoanomaly.results import outputs
from geoanomaly.results.anomalies import trace
from geoanomaly.results.outputs import OUTPUTS
from geoanomaly.results.preview import scene_picture
from geoanomaly.run_report import Clock, Found, Run, describe, digests_of
from geoanomaly.scenes.inputs import Inputs, open_inputs
from geoanomaly.scenes.thumbnail import Thumbnail, open_thumbnail
from geoanomaly.scenes.timeline import HISTORY
from geoanomaly.scoring import ScoreTile, score_tiles, with_data
from geoanomaly.settings import Settings
from geoanomaly.types import Anomaly, JobSpec, Process, Progress, Report, RunResult
from tiling.scratch import TileStore
from tiling.source import close_rasters

log = logging.getLogger(__name__)


def run(
    spec: JobSpec, *, out: Path, scratch: Path, settings: Settings, report: Report
) -> RunResult:
    """Do the job: files appear in `out`, unfinished work is kept in `scratch` for a restart.

    `report` is called between tiles and training steps and may raise to stop. The
    spec has been checked (`intake.check`).
    """
    compute.use_one_thread_each()
    if spec.process is Process.TRAIN_MODEL:
        return train(spec, out=out, report=report)
    return _detect(spec, out=out, scratch=scratch, settings=settings, report=report)


def _detect(
    spec: JobSpec, *, out: Path, scratch: Path, settings: Settings, report: Report
) -> RunResult:
    clock = Clock()
    with clock.step("reading"):
        report(Progress("reading", 0, "opening the scenes"))
        inputs, comparability = _open(spec, scratch, report)
    with clock.step("fitting"):
        # What the detector sees: two dates of the place, or all of them.
        seen = stacked(inputs) if spec.detector == HISTORY else inputs
        model = model_for(spec, seen, scratch, settings, report)
    with clock.step("scoring"):
        grid = inputs.tiles(spec.tile_size or settings.tile_size, model.detector.halo)
        tiles = with_data(inputs, grid)
        store = TileStore(unfinished.tiles(scratch, settings))
        store.create(grid)
        thumbnail = open_thumbnail(inputs, grid, unfinished.thumbnail(scratch, settings))
        # A cluster's workers have processors of their own: what travels to them stays on the CPU.
        scorer = model if settings.dask_scheduler else model.to(compute.device())
        compute.give_back_memory()
        score_tiles(ScoreTile(seen, scorer, store, thumbnail), grid, tiles, settings, report)
        close_rasters()
        compute.give_back_memory()
    done = Run(spec, inputs, comparability, model, grid, tiles)
    with clock.step("writing"):
        out.mkdir(parents=True, exist_ok=True)
        found = _publish(out, done, store, thumbnail, settings.threads, report)
    told = describe(done, found, clock)
    outputs.write_item(out, inputs, told["stac"])
    outputs.write_run(out, told)
    doubt = done.doubt and f". {done.doubt}"
    report(Progress("done", 100, f"{len(found.anomalies)} anomalies{doubt}"))
    return RunResult(OUTPUTS, told)


def _open(spec: JobSpec, scratch: Path, report: Report) -> tuple[Inputs, Comparability | None]:
    """The scenes, the before scene moved onto the after scene where that was found right."""
    inputs = open_inputs(spec)
    if spec.process is not Process.DETECT_CHANGE:
        return inputs, None
    report(Progress("reading", 0, "comparing the dates"))
    found = compared(inputs, scratch / "comparability.json", seed=spec.seed, anyway=spec.anyway)
    for line in (f"dates {found.verdict}", *found.reasons, *found.notes):
        log.info("%s", line)
    if found.evidence.moved != (0.0, 0.0):
        inputs = open_inputs(spec, found.evidence.moved)
    return replace(inputs, notes=inputs.notes + found.notes), found


def _publish(
    out: Path, done: Run, store: TileStore, thumbnail: Thumbnail, threads: int, report: Report
) -> Found:
    """Everything but what describes the run."""
    threshold, geobox = done.threshold, done.inputs.geobox
    report(Progress("writing", 90, "heatmap and mask"))
    with ThreadPoolExecutor() as beside:
        digests = beside.submit(digests_of, done.inputs)
        with outputs.plain_rasters(out, store, geobox, done.tiles, threshold, threads) as rasters:
            report(Progress("writing", 93, "anomalies"))
            traced = beside.submit(_trace, out, rasters, geobox.crs)
            picture = beside.submit(lambda: scene_picture(thumbnail.pixels()))
            rasters.tiles.pack(threads)
            outputs.write_preview(out, picture.result(), threshold, done.doubt)
            outputs.write_style(out)
            anomalies = traced.result()
    return Found(anomalies, rasters.tally, digests.result())


def _trace(out: Path, rasters: outputs.PlainRasters, crs: Any) -> tuple[Anomaly, ...]:
    """The anomalies, and their files."""
    anomalies = trace(rasters.heatmap, rasters.mask)
    outputs.write_vectors(out, anomalies, crs)
    return tuple(anomalies)
