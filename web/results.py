"""What a finished job has to say of itself, as the result page asks for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox

from geoanomaly.errors import GeoanomalyError, NotFoundError, ParameterError
from geoanomaly.results.legend import LEVELS, RAMP, UNIT, surprise_at
from geoanomaly.results.places import Places, map_box, pixels_per_km2
from geoanomaly.results.reasons import Reading, Usual, read_place, readable, to_json, usual
from geoanomaly.results.regions import Hot, Region, hot_pixels, regions
from geoanomaly.scenes.areas import crs_name
from geoanomaly.scenes.inputs import Inputs, open_inputs
from geoanomaly.types import Job, JobSpec, Scene
from web.findings import Findings, geojson, of_regions, published
from web.layers import Layer, layer_path, layer_scene, styles
from web.problems import UnknownFileError
from web.service import Service

SCENES = (Layer.BEFORE, Layer.AFTER)

_READERS = ThreadPoolExecutor(2, thread_name_prefix="heatmap")


@dataclass(frozen=True)
class Result:
    """A finished job, its heatmap, and what its run said of itself (empty when that is gone)."""

    job: Job
    heatmap: Path
    report: Mapping[str, Any]

    @property
    def hot(self) -> Hot:
        try:
            return _hot(*self._file).result()
        except Exception:
            _hot.cache_clear()  # it may be readable the next time
            raise

    def read_ahead(self) -> None:
        """Begin to read what `hot` has; it takes seconds for a large scene."""
        _hot(*self._file)

    @property
    def _file(self) -> tuple[str, int]:
        return str(self.heatmap), self.heatmap.stat().st_mtime_ns

    @property
    def threshold(self) -> float:
        """The run's own, in surprise."""
        return surprise_at(self.job.spec.false_alarm_rate)

    def regions(self, threshold: float) -> list[Region]:
        """Regions at a threshold, which is moved up to the lowest that the heatmap allows."""
        # A slider has steps; the run's own threshold need not be one of them.
        return _regions(*self._file, round(threshold, 6))


def result_of(parts: Service, job: Job) -> Result:
    """UnknownFileError when the job has no heatmap (any more)."""
    path = parts.output(job, "run.json")
    report = dict(json.loads(path.read_text())) if path else {}
    return Result(job, layer_path(parts, job, Layer.HEATMAP), report)


# The time of change is part of each key: a file that was replaced is read again.
@lru_cache(maxsize=2)
def _hot(path: str, _changed: int) -> Future[Hot]:
    """At once: whoever comes while a heatmap is read waits for the same reading."""
    return _READERS.submit(hot_pixels, Path(path))


@lru_cache(maxsize=16)
def _regions(path: str, changed: int, threshold: float) -> list[Region]:
    hot = _hot(path, changed).result()
    return regions(hot, max(threshold, hot.floor))


def view(parts: Service, result: Result) -> dict[str, Any]:
    """All that the page needs before it shows anything; reads no heatmap."""
    job, report = result.job, result.report
    with rasterio.open(result.heatmap) as raster:
        grid = GeoBox(raster.shape, raster.transform, raster.crs)
    return {
        "id": job.id,
        "process": job.spec.process.value,
        "finished": job.finished and job.finished.isoformat(timespec="seconds"),
        "placed": grid.crs is not None,
        "crs": crs_name(grid) if grid.crs else None,
        "shape": list(grid.shape),
        "resolution": abs(grid.resolution.x),
        "box": map_box(grid),
        "scenes": [found for layer in SCENES if (found := _scene(parts, job, layer))],
        "threshold": {"surprise": result.threshold, "rate": job.spec.false_alarm_rate},
        "pixels_per_km2": pixels_per_km2(grid),
        "levels": LEVELS,
        "basis": report.get("model", {}).get("calibration_kind", ""),
        "detector": report.get("model", {}).get("detector", ""),
        "doubts": list(report.get("comparability", {}).get("reasons", ())),
        "notes": list(report.get("notes", ())),
        "unit": UNIT,
        "legend": [
            {"low": s.low, "high": s.high, "colour": list(s.colour), "meaning": s.meaning}
            for s in RAMP
        ],
        "outputs": list(job.outputs),
    }


def _scene(parts: Service, job: Job, layer: Layer) -> dict[str, Any] | None:
    """How a date can be shown; None where it cannot."""
    scene = layer_scene(job, layer)
    if scene is None or (layer is Layer.BEFORE and job.spec.before is None):
        return None
    try:
        path = layer_path(parts, job, layer)
        shown = styles(job, layer, path)
    except GeoanomalyError:
        # Gone, or no longer what it was: the rest of the result is still worth a look.
        return None
    with rasterio.open(path) as raster:
        names = [name or f"band {i}" for i, name in enumerate(raster.descriptions, start=1)]
    return {
        "layer": layer.value,
        "title": scene.label,
        "date": scene.date,
        "bands": names,
        "styles": [{"name": s.name, "bands": list(s.bands)} for s in shown],
    }


def anomalies(parts: Service, result: Result, threshold: float, *, draw: bool) -> str:
    """All regions above a threshold with their judgements, as GeoJSON; draw: with outlines."""
    found = _published(parts, result, draw=draw) if threshold == result.threshold else None
    if found is None:
        found = of_regions(result.hot, result.regions(threshold), threshold, draw=draw)
    judged = {each.key: each for each in parts.store.judgements(result.job.id)}
    return geojson(found, threshold, judged)


def _published(parts: Service, result: Result, *, draw: bool) -> Findings | None:
    """The run's own anomalies; the next question will be about other ones, or their pixels."""
    result.read_ahead()
    vectors = parts.output(result.job, "anomalies.gpkg")
    return published(result.heatmap, vectors, result.report, draw=draw) if vectors else None


def region_at(result: Result, key: str, threshold: float) -> Region:
    """The region whose highest pixel is that; NotFoundError where there is none."""
    for region in result.regions(threshold):
        if region.key == key:
            return region
    raise NotFoundError(f"There is no anomaly {key!r} at a surprise of {threshold:g}.")


def anomaly(parts: Service, result: Result, key: str, threshold: float) -> dict[str, Any]:
    """Why it stands out."""
    region = region_at(result, key, threshold)
    return _reading(parts, result, region.rows, region.cols) or {}


def point(parts: Service, result: Result, x: float, y: float) -> dict[str, Any]:
    """Value, p-value and spectra at a place on the map."""
    with rasterio.open(result.heatmap) as raster:
        try:
            row, col = Places(raster.crs).pixel(x, y, raster.transform)
        except (ValueError, OverflowError):
            # No place on the earth: its coordinates in the CRS are no numbers.
            row = col = -1
        if not (0 <= row < raster.height and 0 <= col < raster.width):
            raise ParameterError("The place lies outside the heatmap.", field="x")
        window = rasterio.windows.Window(col, row, 1, 1)
        value = float(raster.read(1, window=window)[0, 0])
    known = bool(np.isfinite(value))
    reading = _reading(parts, result, np.array([row]), np.array([col]))
    return {
        "row": row,
        "col": col,
        "x": x,
        "y": y,
        "surprise": round(value, 3) if known else None,
        "p": float(f"{10**-value:.3g}") if known else None,
        **(reading or {}),
    }


def _reading(parts: Service, result: Result, rows: Any, cols: Any) -> dict[str, Any] | None:
    """None where a scene is gone."""
    try:
        opened = _opened(parts, result)
    except UnknownFileError:
        return None
    reading: Reading = read_place(opened.inputs, opened.usual, rows, cols)
    return to_json(reading, opened.usual)


@dataclass(frozen=True)
class Opened:
    """The scenes of a job on the heatmap's grid, and what is usual in them."""

    inputs: Inputs
    usual: Usual


def _opened(parts: Service, result: Result) -> Opened:
    spec = result.job.spec
    paths = [layer_path(parts, result.job, layer) for layer in SCENES[-len(spec.scenes) :]]
    changed = tuple(path.stat().st_mtime_ns for path in paths)
    shift = result.report.get("comparability", {}).get("shift") or {}
    down, right = shift["shift"] if shift.get("applied") else (0.0, 0.0)
    bare = replace(spec, scenes=tuple(_bare(s) for s in spec.scenes), history=(), ignore=())
    # As text, because geometries have no hash.
    return _open(json.dumps(bare.to_json()), changed, (down, right))


def _bare(scene: Scene) -> Scene:
    """Without its mask: what lies under a mask may be looked at, too."""
    return replace(scene, mask=None)


@lru_cache(maxsize=8)
def _open(spec: str, _changed: tuple[int, ...], moved: tuple[float, float]) -> Opened:
    inputs = readable(open_inputs(JobSpec.from_json(json.loads(spec)), moved))
    return Opened(inputs, usual(inputs))
