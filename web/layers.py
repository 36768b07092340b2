"""The rasters of a job that can be looked at, and how each is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from geoanomaly.errors import GeoanomalyError, InputError
from geoanomaly.intake.roots import is_inside
from geoanomaly.results.rasters import HEATMAP, MASK
from geoanomaly.scenes.info import inspect
from geoanomaly.scenes.sensors import display_bands
from geoanomaly.types import Job, Process, Scene
from web.problems import UnknownFileError
from web.service import Service

SAMPLE_SIDE = 512
PERCENTILES = (0, 1, 2, 5, 95, 98, 99, 100)
LOW, HIGH = PERCENTILES.index(2), PERCENTILES.index(98)


class Layer(StrEnum):
    HEATMAP = "heatmap"
    # The values of the heatmap as grey levels, for a page that draws its own threshold.
    SURPRISE = "surprise"
    MASK = "mask"
    BEFORE = "before"
    AFTER = "after"


FILES: Mapping[Layer, str] = {
    Layer.HEATMAP: HEATMAP,
    Layer.SURPRISE: HEATMAP,
    Layer.MASK: MASK,
}

Stretch = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Style:
    """One way to show a scene.

    bands: 1-based indexes, three (red, green, blue) or one.
    stretch: (low, high) per band; one for the whole scene, so that tiles have no seams.
    """

    name: str
    bands: tuple[int, ...]
    stretch: Stretch


def layer_path(parts: Service, job: Job, layer: Layer) -> Path:
    """The file behind a layer; UnknownFileError when the job has no such layer (any more)."""
    if layer in FILES:
        path = parts.output(job, FILES[layer])
    else:
        path = _scene_path(parts, layer_scene(job, layer))
    if path is None:
        raise UnknownFileError(f"Job {job.id} has no layer {layer.value!r} to show.")
    return path


def layer_scene(job: Job, layer: Layer) -> Scene | None:
    if job.spec.process is Process.TRAIN_MODEL:
        return None
    return job.spec.before if layer is Layer.BEFORE else job.spec.after


def _scene_path(parts: Service, scene: Scene | None) -> Path | None:
    """Only what the sandbox wrote is ever drawn."""
    if scene is None:
        return None
    path = Path(scene.href)
    roots = (parts.settings.scenes_dir, parts.settings.taken_dir)
    return path if is_inside(path, roots) and path.is_file() else None


def styles(job: Job, layer: Layer, path: Path) -> tuple[Style, ...]:
    """How the scene behind `layer` can be shown; the first is the default."""
    scene = layer_scene(job, layer)
    if scene is None:
        return ()
    return scene_styles(path, scene.sensor or job.spec.sensor)


def scene_styles(path: Path, sensor: str | None) -> tuple[Style, ...]:
    """The same for a scene that no job has yet. sensor: None = guessed from the file."""
    return _styles(str(path), path.stat().st_mtime_ns, sensor)


@dataclass(frozen=True)
class Facts:
    """What a drawing has to know of a raster. placed: has a CRS."""

    bands: int
    placed: bool


def facts(path: Path) -> Facts:
    return _facts(str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=1024)
def _facts(path: str, _changed: int) -> Facts:
    with rasterio.open(path) as raster:
        return Facts(raster.count, bool(raster.crs))


# The time of change is part of the key: a file that was replaced is looked at again.
@lru_cache(maxsize=256)
def _styles(path: str, _changed: int, sensor: str | None) -> tuple[Style, ...]:
    try:
        info = inspect(Scene(path), field="scene", sensor=sensor)
    except InputError as error:
        raise GeoanomalyError(f"The scene cannot be shown: {error}") from error
    found = display_bands(info.band_names)
    # display_bands counts data bands; a file may have an alpha band among them.
    indexes = {name: tuple(info.source.bands[i - 1] for i in b) for name, b in found.items()}
    shown = tuple(sorted({i for bands in indexes.values() for i in bands}))
    values = _percentiles(path, _changed, shown)
    return tuple(
        Style(name, bands, tuple(_span(values[i][LOW], values[i][HIGH]) for i in bands))
        for name, bands in indexes.items()
    )


def _span(low: float, high: float) -> tuple[float, float]:
    # A constant band would divide by nothing.
    return (low, high) if high > low else (low, low + 1.0)


def percentiles(path: Path, bands: Iterable[int]) -> Mapping[int, tuple[float, ...]]:
    """`PERCENTILES` of bands (1-based) of a scene, in its digital numbers."""
    return _percentiles(str(path), path.stat().st_mtime_ns, tuple(sorted(set(bands))))


@lru_cache(maxsize=256)
def _percentiles(path: str, _changed: int, bands: tuple[int, ...]) -> dict[int, tuple[float, ...]]:
    """From a small version of the whole scene."""
    with rasterio.open(path) as raster:
        step = max(1.0, max(raster.shape) / SAMPLE_SIDE)
        size = tuple(max(1, round(side / step)) for side in raster.shape)
        try:
            sample = raster.read(
                list(bands),
                out_shape=(len(bands), *size),
                masked=True,
                resampling=Resampling.nearest,
            )
        except RasterioError as error:
            raise GeoanomalyError(f"The scene cannot be read: {error}") from error
    return {band: _quantiles(values) for band, values in zip(bands, sample, strict=True)}


def _quantiles(
    values: np.ma.MaskedArray[tuple[int, ...], np.dtype[np.generic]],
) -> tuple[float, ...]:
    known = values.compressed().astype("float64")
    known = known[np.isfinite(known)]
    if known.size == 0:
        known = np.array([0.0, 1.0])
    return tuple(float(value) for value in np.percentile(known, PERCENTILES))
