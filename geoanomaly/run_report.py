"""What `run.json` says of a run: inputs with their digests, model, threshold, versions, times."""

from __future__ import annotations

import hashlib
import logging
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from geoanomaly import __version__
from geoanomaly.models import Model
from geoanomaly.pairs.comparability import Comparability
from geoanomaly.results.anomalies import MIN_PIXELS
from geoanomaly.results.legend import caution
from geoanomaly.results.outputs import Tally, Threshold
from geoanomaly.results.places import pixels_per_km2
from geoanomaly.scenes.info import SceneInfo
from geoanomaly.scenes.inputs import Inputs
from geoanomaly.types import Anomaly, JobSpec
from tiling.grid import TileGrid
from tiling.types import Tile

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """What a run went by, once its tiles are scored.

    comparability: of two dates, else None; tiles: those of the grid that may have data.
    """

    spec: JobSpec
    inputs: Inputs
    comparability: Comparability | None
    model: Model
    grid: TileGrid
    tiles: Sequence[Tile]

    @property
    def threshold(self) -> Threshold:
        return Threshold(self.spec.false_alarm_rate, self.model.calibration.basis)

    @property
    def doubt(self) -> str:
        """Why its result should be taken with care; empty when there is no reason."""
        return caution(self.comparability.reasons) if self.comparability else ""


@dataclass(frozen=True)
class Found:
    """The anomalies, a count of the heatmap's pixels, and `digests_of` the inputs."""

    anomalies: tuple[Anomaly, ...]
    tally: Tally
    digests: Mapping[str, str | None]


class Clock:
    """Seconds spent in each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)


def describe(run: Run, found: Found, clock: Clock) -> dict[str, Any]:
    """The report; "stac" has the properties of the item."""
    inputs, grid, threshold = run.inputs, run.grid, run.threshold
    told: dict[str, Any] = {
        "spec": run.spec.to_json(),
        "inputs": [_source(info, found.digests) for info in _all_scenes(inputs)],
        "notes": inputs.notes,
        "grid": {
            "shape": tuple(inputs.geobox.shape),
            "crs": str(inputs.geobox.crs) if inputs.geobox.crs else None,
            "transform": tuple(inputs.geobox.affine)[:6],
            "tiles": len(grid),
            "tile_size": grid.size,
            "halo": grid.halo,
        },
        "model": _model(run),
        "threshold": {
            "false_alarm_rate": threshold.false_alarm_rate,
            "surprise": threshold.surprise,
            "expected_false_alarm_pixels_per_km2": _false_alarms_per_km2(inputs, threshold),
        },
        "anomalies": {"count": len(found.anomalies), "min_pixels": MIN_PIXELS},
        "versions": {
            "geoanomaly": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "rasterio", "numpy", "dask")},
        },
        "seconds": clock.seconds,
        "stac": _properties(run),
        "valid": _valid(inputs, grid, found.tally.valid),
        "surprise": {"above": found.tally.above, "highest": found.tally.highest},
    }
    if run.comparability:
        told["comparability"] = run.comparability.to_json()
    return told


def _all_scenes(inputs: Inputs) -> tuple[SceneInfo, ...]:
    return (*inputs.scenes, *(each.scenes[0] for each in inputs.history))


def digests_of(inputs: Inputs) -> dict[str, str | None]:
    """SHA-256 of every scene and mask by its href; None of what is no file here."""
    scenes = [info.scene for info in _all_scenes(inputs)]
    hrefs = [each.href for each in scenes] + [each.mask.href for each in scenes if each.mask]
    return {href: _sha256(Path(href)) for href in hrefs}


def _source(info: SceneInfo, digests: Mapping[str, str | None]) -> dict[str, Any]:
    mask = info.scene.mask
    return {
        "href": info.scene.href,
        "sha256": digests[info.scene.href],
        "sensor": info.sensor.name,
        "bands": info.band_names,
        "mask": mask and mask.href,
        "mask_sha256": mask and digests[mask.href],
    }


def _model(run: Run) -> dict[str, Any]:
    card = run.model.card
    return {
        "name": run.spec.model,
        "detector": card.detector,
        "choice": list(card.config.get("choice", ())),
        "digest": card.digest,
        "calibration": dict(card.calibration),
        "calibration_kind": run.threshold.basis,
    }


def _properties(run: Run) -> dict[str, Any]:
    threshold, comparability = run.threshold, run.comparability
    properties: dict[str, Any] = {
        "geoanomaly:process": run.spec.process.value,
        "geoanomaly:detector": run.model.card.detector,
        "geoanomaly:threshold": threshold.surprise,
        "geoanomaly:false_alarm_rate": threshold.false_alarm_rate,
        "geoanomaly:calibration": threshold.basis,
    }
    if comparability:
        properties["geoanomaly:comparability"] = comparability.verdict.value
        if comparability.reasons:
            properties["geoanomaly:comparability_reasons"] = list(comparability.reasons)
    return properties


def _valid(inputs: Inputs, grid: TileGrid, scored: int) -> dict[str, Any]:
    """How much of the area has a score: what is nodata, masked or ignored has none."""
    area = sum(int(inputs.inside(tile).sum()) for tile in grid)
    share = round(scored / area, 4)
    log.info("%.1f %% of the area's %d pixels are valid", 100 * share, area)
    return {"pixels": scored, "share": share}


def _false_alarms_per_km2(inputs: Inputs, threshold: Threshold) -> float | None:
    """Expected normal pixels above the threshold in a square kilometre; None without a CRS."""
    pixels = pixels_per_km2(inputs.geobox)
    return None if pixels is None else round(threshold.false_alarm_rate * pixels, 4)


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
