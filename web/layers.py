"""The rasters of a job that can be looked at, and how each is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from geoanomaly.errors import GeoanomalyError, InputError
from geoanomaly.scenes import inspect
from geoanomaly.sensors import display_bands
from geoanomaly.types import Job, Process, Scene
from web.hrefs import is_inside
from web.problems import UnknownFileError
from web.service import Service

SAMPLE_SIDE = 512
PERCENTILES = (2, 98)


class Layer(StrEnum):
    HEATMAP = "heatmap"
    MASK = "mask"
    BEFORE = "before"
    AFTER = "after"


FILES: Mapping[Layer, str] = {Layer.HEATMAP: "heatmap.tif", Layer.MASK: "mask.tif"}

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
    """Checked again when drawn: the roots may be fewer now than when the job was accepted."""
    if scene is None:
        return None
    path = Path(scene.href)
    roots = (parts.settings.scenes_dir, *parts.settings.scene_roots)
    return path if is_inside(path, roots) and path.is_file() else None


def styles(job: Job, layer: Layer, path: Path) -> tuple[Style, ...]:
    """How the scene behind `layer` can be shown; the first is the default."""
    scene = layer_scene(job, layer)
    if scene is None:
        return ()
    return _styles(str(path), path.stat().st_mtime_ns, scene.sensor or job.spec.sensor)


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
    lows_highs = _percentiles(path, sorted({i for bands in indexes.values() for i in bands}))
    return tuple(
        Style(name, bands, tuple(lows_highs[i] for i in bands)) for name, bands in indexes.items()
    )


def _percentiles(path: str, bands: list[int]) -> dict[int, tuple[float, float]]:
    """(low, high) of each band, from a small version of the whole scene."""
    with rasterio.open(path) as raster:
        step = max(1.0, max(raster.shape) / SAMPLE_SIDE)
        size = tuple(max(1, round(side / step)) for side in raster.shape)
        try:
            sample = raster.read(
                bands, out_shape=(len(bands), *size), masked=True, resampling=Resampling.nearest
            )
        except RasterioError as error:
            raise GeoanomalyError(f"The scene cannot be read: {error}") from error
    return {band: _range(values) for band, values in zip(bands, sample, strict=True)}


def _range(values: np.ma.MaskedArray[tuple[int, ...], np.dtype[np.generic]]) -> tuple[float, float]:
    known = values.compressed().astype("float64")
    known = known[np.isfinite(known)]
    if known.size == 0:
        return (0.0, 1.0)
    low, high = (float(value) for value in np.percentile(known, PERCENTILES))
    # A constant band would divide by nothing.
    return (low, high) if high > low else (low, low + 1.0)
