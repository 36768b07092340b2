"""One job from its spec to its published files. Reads as a table of contents."""

from __future__ import annotations

import hashlib
import logging
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from geoanomaly import __version__, compute, outputs, sampling
from geoanomaly.anomalies import MIN_PIXELS, trace
from geoanomaly.budget import set_limits
from geoanomaly.calibration import AsScored, Calibration, calibrate, sample_scores
from geoanomaly.comparability import Comparability, compared
from geoanomaly.detectors import chosen_detector
from geoanomaly.detectors.base import FitOptions
from geoanomaly.errors import SceneError, TileError
from geoanomaly.history import calibrated, stacked
from geoanomaly.inputs import MIN_VALID_PIXELS, Inputs, open_inputs, open_normal
from geoanomaly.intake import check_model_fits
from geoanomaly.legend import caution
from geoanomaly.models import CARD, WEIGHTS, Model, load_model, make_model, save_model
from geoanomaly.outputs import OUTPUTS, Threshold
from geoanomaly.places import pixels_per_km2
from geoanomaly.progress import Pace
from geoanomaly.rasters import HEATMAP, MASK
from geoanomaly.sampling import Sample
from geoanomaly.settings import Settings
from geoanomaly.timeline import HISTORY
from geoanomaly.types import Anomaly, JobSpec, Process, Progress, Report, RunResult, Setting
from tiling.grid import TileGrid, spread
from tiling.runner import TileFailedError, run_tiles
from tiling.scratch import TileStore
from tiling.types import Tile

log = logging.getLogger(__name__)

WRITING = 0.1
"""Time that the files take once the tiles are scored, as a share of the scoring."""


def run(
    spec: JobSpec, *, out: Path, scratch: Path, settings: Settings, report: Report
) -> RunResult:
    """Do the job: files appear in `out`, unfinished work is kept in `scratch` for a restart.

    `report` is called between tiles and training steps and may raise to stop. The
    spec has been checked (`intake.check`).
    """
    compute.use_one_thread_each()
    if spec.process is Process.TRAIN_MODEL:
        return _train(spec, out=out, report=report)
    return _detect(spec, out=out, scratch=scratch, settings=settings, report=report)


def _detect(
    spec: JobSpec, *, out: Path, scratch: Path, settings: Settings, report: Report
) -> RunResult:
    clock = _Clock()
    with clock.step("reading"):
        report(Progress("reading", 0, "opening the scenes"))
        inputs, comparability = _open(spec, scratch, report)
    with clock.step("fitting"):
        # What the detector sees: two dates of the place, or all of them.
        seen = stacked(inputs) if spec.detector == HISTORY else inputs
        model = _model_for(spec, seen, scratch, settings, report)
    with clock.step("scoring"):
        grid = inputs.tiles(spec.tile_size or settings.tile_size, model.detector.halo)
        store = TileStore(_tiles_at(scratch, settings))
        store.create(grid)
        # A cluster's workers have processors of their own: what travels to them stays on the CPU.
        scorer = model if settings.dask_scheduler else model.to(compute.device())
        compute.give_back_memory()
        _score(ScoreTile(seen, scorer, store), grid, settings, report)
        compute.give_back_memory()
    with clock.step("writing"):
        out.mkdir(parents=True, exist_ok=True)
        threshold = Threshold(spec.false_alarm_rate, model.calibration.basis)
        doubt = caution(comparability.reasons) if comparability else ""
        anomalies, scored = _publish(
            out, inputs, store, grid, threshold, doubt, settings.threads, report
        )
    run_report = _describe(spec, inputs, model, grid, threshold, anomalies, clock)
    run_report["valid"] = _valid(inputs, grid, scored)
    if comparability:
        _add_comparability(run_report, comparability)
    outputs.write_item(out, inputs, run_report["stac"])
    outputs.write_run(out, run_report)
    if settings.scratch_url:
        store.remove()  # a folder is cleared by whom it belongs to
    report(Progress("done", 100, f"{len(anomalies)} anomalies{doubt and f'. {doubt}'}"))
    return RunResult(OUTPUTS, run_report)


def _tiles_at(scratch: Path, settings: Settings) -> Path | str:
    """Where all workers can write: the job's own folder, or its namesake in an object store."""
    if settings.scratch_url:
        return f"{settings.scratch_url.rstrip('/')}/{scratch.name}/surprise.zarr"
    return scratch / "surprise.zarr"


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


def _train(spec: JobSpec, *, out: Path, report: Report) -> RunResult:
    entry = chosen_detector(spec.process, spec.detector)
    family = entry.family()
    scenes = [open_normal(scene, spec.sensor, spec.aoi) for scene in spec.scenes]
    _require_alike(scenes)
    samples = [
        sampling.draw(
            inputs,
            halo=family.halo(scenes[0].setting),
            seed=spec.seed,
            report=report,
            share=len(scenes),
            exclude=spec.exclude,
        )
        for inputs in scenes
    ]
    sample = sampling.merge([each for each in samples if each.pixels])
    info = scenes[0].scenes[0]
    assert spec.name is not None  # checked at intake
    model = _fit(
        spec,
        sample,
        scenes[0].setting,
        report,
        name=spec.name,
        family=entry.name,
        sensor=info.sensor.name,
        bands=info.band_names,
        end=95.0,
    )
    save_model(model, out)
    report(Progress("done", 100, f"model {spec.name} is ready"))
    return RunResult((CARD, WEIGHTS), {"model": spec.name, "digest": model.card.digest})


def _require_alike(scenes: list[Inputs]) -> None:
    first = scenes[0].scenes[0]
    for inputs in scenes[1:]:
        info = inputs.scenes[0]
        if info.band_names != first.band_names or info.sensor != first.sensor:
            raise SceneError(
                f"{info.scene.href} has bands {' '.join(info.band_names)} ({info.sensor.name}), "
                f"{first.scene.href} has {' '.join(first.band_names)} ({first.sensor.name}). "
                "A model is trained on scenes of one sensor and one band layout.",
                field="scenes",
            )


def _model_for(
    spec: JobSpec, inputs: Inputs, scratch: Path, settings: Settings, report: Report
) -> Model:
    """The named model, the one that an interrupted run left in scratch, or one fitted now."""
    if spec.model is not None:
        model = load_model(settings.models_dir / spec.model)
        check_model_fits(model.card, inputs)
        return model
    kept = scratch / "model"
    if (kept / CARD).exists():
        return load_model(kept)
    entry = chosen_detector(spec.process, spec.detector)
    halo = entry.family().halo(inputs.setting)
    sample = sampling.draw(inputs, halo=halo, seed=spec.seed, report=report)
    info = inputs.scenes[-1]
    model = _fit(
        spec,
        sample,
        inputs.setting,
        report,
        name="model",
        family=entry.name,
        sensor=info.sensor.name,
        bands=info.band_names,
        end=40.0,
        place=inputs,
    )
    save_model(model, kept)
    # What was written is what is used: a restarted job then scores with the same bits.
    return load_model(kept)


def _fit(
    spec: JobSpec,
    sample: Sample,
    setting: Setting,
    report: Report,
    *,
    name: str,
    family: str,
    sensor: str,
    bands: tuple[str, ...],
    end: float,
    place: Inputs | None = None,
) -> Model:
    """place: what is scored, whose history calibrates where it has one."""
    if sample.pixels < MIN_VALID_PIXELS:
        raise SceneError(
            f"{sample.pixels:,} valid pixels were found to learn from, {MIN_VALID_PIXELS:,} are "
            "needed. Check nodata, the area and the excluded polygons.",
            field="aoi" if spec.aoi else "scenes",
        )
    known = place is not None and bool(place.history)
    fitted = end / 2 if known else end
    options = FitOptions(setting, spec.seed, report, end=fitted)
    maker = chosen_detector(spec.process, family).family()
    detector = maker.fit(sample, options)
    report(Progress("calibrating", fitted, "scoring the sample"))
    estimate = (
        AsScored(sample.pixels)
        if detector.calibrated
        else calibrate(sample_scores(detector, sample))
    )
    calibration: Calibration = estimate
    if place is not None and known:
        rest = replace(options, start=fitted, end=end)
        calibration = calibrated(place, detector, maker, estimate, rest)
    return make_model(
        detector,
        calibration,
        name=name,
        family=family,
        sensor=sensor,
        bands=bands,
        trained_on=tuple(scene.label for scene in spec.scenes),
        seed=spec.seed,
    )


@dataclass(frozen=True)
class ScoreTile:
    """The kernel: read a window and its halo, score it, keep the core. Picklable, knows no Dask."""

    inputs: Inputs
    model: Model
    store: TileStore

    def __call__(self, tile: Tile) -> None:
        set_limits(Settings())  # on a cluster this is another process
        compute.use_one_thread_each()
        self.store.write(tile, self.surprise(tile))

    def surprise(self, tile: Tile) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Calibrated surprise of a tile's core, NaN outside the area and where data is missing."""
        inside = self.inputs.inside(tile)
        if not inside.any() or self.inputs.empty(tile):
            return np.full(tile.shape, np.nan, np.float32)
        batches = self.inputs.read(tile)
        if not all(batch.any_valid for batch in batches):
            return np.full(tile.shape, np.nan, np.float32)
        score = self.model.detector.score(batches)[0][tile.inner]
        surprise = self.model.calibration.surprise(score)
        surprise[~inside] = np.nan
        return surprise


def _score(kernel: ScoreTile, grid: TileGrid, settings: Settings, report: Report) -> None:
    """Score the tiles that the store lacks."""
    todo = spread(kernel.store.missing(grid))
    pace = Pace(total=len(grid), done=len(grid) - len(todo), start=40, end=90, after=WRITING)
    report(pace.progress())
    try:
        run_tiles(
            kernel,
            todo,
            threads=settings.threads,
            scheduler=settings.dask_scheduler,
            on_done=lambda: report(pace.step()),
        )
    except TileFailedError as failure:
        raise TileError(str(failure)) from failure


def _publish(
    out: Path,
    inputs: Inputs,
    store: TileStore,
    grid: TileGrid,
    threshold: Threshold,
    doubt: str,
    threads: int,
    report: Report,
) -> tuple[list[Anomaly], int]:
    """Everything but what describes the run; the anomalies, and how many pixels have a score."""
    report(Progress("writing", 90, "heatmap and mask"))
    scored = outputs.write_rasters(out, store, grid, threshold, threads=threads)
    report(Progress("writing", 95, "anomalies"))
    anomalies = trace(out / HEATMAP, out / MASK)
    outputs.write_vectors(out, anomalies, inputs.geobox.crs)
    outputs.write_style(out)
    outputs.write_preview(out, inputs, threshold, doubt)
    return anomalies, scored


def _valid(inputs: Inputs, grid: TileGrid, scored: int) -> dict[str, Any]:
    """How much of the area has a score: what is nodata, masked or ignored has none."""
    area = sum(int(inputs.inside(tile).sum()) for tile in grid)
    share = round(scored / area, 4)
    log.info("%.1f %% of the area's %d pixels are valid", 100 * share, area)
    return {"pixels": scored, "share": share}


def _add_comparability(run_report: dict[str, Any], found: Comparability) -> None:
    run_report["comparability"] = found.to_json()
    run_report["stac"]["geoanomaly:comparability"] = found.verdict.value
    if found.reasons:
        run_report["stac"]["geoanomaly:comparability_reasons"] = list(found.reasons)


def _describe(
    spec: JobSpec,
    inputs: Inputs,
    model: Model,
    grid: TileGrid,
    threshold: Threshold,
    anomalies: list[Anomaly],
    clock: _Clock,
) -> dict[str, Any]:
    """What `run.json` says."""
    card = model.card
    per_km2 = _false_alarms_per_km2(inputs, threshold)
    stac = {
        "geoanomaly:process": spec.process.value,
        "geoanomaly:detector": card.detector,
        "geoanomaly:threshold": threshold.surprise,
        "geoanomaly:false_alarm_rate": threshold.false_alarm_rate,
        "geoanomaly:calibration": model.calibration.basis,
    }
    return {
        "spec": spec.to_json(),
        "inputs": [
            {
                "href": info.scene.href,
                "sha256": _sha256(Path(info.scene.href)),
                "sensor": info.sensor.name,
                "bands": info.band_names,
                "mask": info.scene.mask and info.scene.mask.href,
                "mask_sha256": info.scene.mask and _sha256(Path(info.scene.mask.href)),
            }
            for info in (*inputs.scenes, *(each.scenes[0] for each in inputs.history))
        ],
        "notes": inputs.notes,
        "grid": {
            "shape": tuple(inputs.geobox.shape),
            "crs": str(inputs.geobox.crs) if inputs.geobox.crs else None,
            "transform": tuple(inputs.geobox.affine)[:6],
            "tiles": len(grid),
            "tile_size": grid.size,
            "halo": grid.halo,
        },
        "model": {
            "name": spec.model,
            "detector": card.detector,
            "choice": list(card.config.get("choice", ())),
            "digest": card.digest,
            "calibration": dict(card.calibration),
            "calibration_kind": model.calibration.basis,
        },
        "threshold": {
            "false_alarm_rate": threshold.false_alarm_rate,
            "surprise": threshold.surprise,
            "expected_false_alarm_pixels_per_km2": per_km2,
        },
        "anomalies": {"count": len(anomalies), "min_pixels": MIN_PIXELS},
        "versions": {
            "geoanomaly": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "rasterio", "numpy", "dask")},
        },
        "seconds": clock.seconds,
        "stac": stac,
    }


def _false_alarms_per_km2(inputs: Inputs, threshold: Threshold) -> float | None:
    """Expected normal pixels above the threshold in a square kilometre; None without a CRS."""
    pixels = pixels_per_km2(inputs.geobox)
    return None if pixels is None else round(threshold.false_alarm_rate * pixels, 4)


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Clock:
    """Seconds spent in each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)
