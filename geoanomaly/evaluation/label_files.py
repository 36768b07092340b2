"""Heatmaps and labels from disk, on one grid: what `evaluation` needs of files."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.features import rasterize
from rasterio.transform import Affine
from rasterio.warp import Resampling, reproject

from geoanomaly.errors import SceneError

UNLABELLED = 255
DEFAULT_FALSE_ALARM_RATE = 0.01
THRESHOLD_TAG = "GEOANOMALY_THRESHOLD"
VECTOR_SUFFIXES = frozenset({".gpkg", ".geojson", ".json", ".shp", ".fgb"})


@dataclass(frozen=True)
class HeatmapFile:
    """values: (y, x) float32 surprise, NaN = nodata; crs: None = pixel grid only."""

    values: NDArray[np.float32]
    crs: CRS | None
    transform: Affine


@dataclass(frozen=True)
class LabelFile:
    """A label raster as it is on disk; fields as in `HeatmapFile` and `Labels`."""

    values: NDArray[np.uint8]
    crs: CRS | None
    transform: Affine


@dataclass(frozen=True)
class Labels:
    """values: (y, x) uint8 on the heatmap's grid, 255 unlabelled; notes: what was done to them."""

    values: NDArray[np.uint8]
    notes: tuple[str, ...] = ()


def read_heatmap(path: Path, *, field: str = "heatmap") -> HeatmapFile:
    """Band 1 of a heatmap. Raises SceneError with that field if it cannot be read."""
    try:
        with rasterio.open(path) as file:
            values = file.read(1, masked=True).astype(np.float32).filled(np.nan)
            return HeatmapFile(values, file.crs, file.transform)
    except RasterioError as error:
        raise _unreadable(path, field, error) from error


def read_labels(path: Path, heatmap: HeatmapFile) -> Labels:
    """Labels on the heatmap's grid.

    A raster: 1 anomalous, 0 normal, all else (and its nodata) unlabelled; resampled to
    the nearest pixel if the grids differ. A vector file (GeoPackage, GeoJSON, ..):
    its polygons are anomalous and the rest is normal. Raises SceneError (field "label").
    """
    if path.suffix.lower() in VECTOR_SUFFIXES:
        return _read_polygons(path, heatmap)
    try:
        with rasterio.open(path) as file:
            labels = _fill(file.read(1, masked=True))
            crs, transform = file.crs, file.transform
    except RasterioError as error:
        raise _unreadable(path, "label", error) from error
    return _match(path, LabelFile(labels, crs, transform), heatmap)


def published_threshold(heatmap: Path) -> tuple[float, str]:
    """The surprise that the heatmap's mask was cut at, and a sentence on where that was found.

    From the tag GEOANOMALY_THRESHOLD, else the tag or run.json's `false_alarm_rate`
    (-log10 of it), else -log10(0.01) = 2.
    """
    with rasterio.open(heatmap) as file:
        tags = file.tags()
    if (tagged := _number(tags.get(THRESHOLD_TAG))) is not None:
        return tagged, f"Threshold {tagged:g} is from the heatmap's tag {THRESHOLD_TAG}."
    for source, value in (
        ("the heatmap's tag", tags.get("false_alarm_rate")),
        ("run.json beside it", _rate_of_run(heatmap.parent / "run.json")),
    ):
        rate = _number(value)
        if rate is not None and 0 < rate < 1:
            limit = -math.log10(rate)
            return limit, f"Threshold {limit:.4g} is the false-alarm rate {rate:g} of {source}."
    limit = -math.log10(DEFAULT_FALSE_ALARM_RATE)
    return limit, f"The heatmap names no threshold; {limit:g} (one normal pixel in 100) is used."


def _rate_of_run(path: Path) -> Any:
    """false_alarm_rate at the top of run.json or in one of its objects; None if there is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict):
        return None
    nested = [value for value in record.values() if isinstance(value, dict)]
    rates = (part.get("false_alarm_rate") for part in (record, *nested))
    return next((rate for rate in rates if rate is not None), None)


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _fill(labels: Any) -> NDArray[np.uint8]:
    """Only 0 and 1 survive; other values, fractions and masked pixels become unlabelled."""
    values, masked = np.ma.getdata(labels), np.ma.getmaskarray(labels)
    known = ~masked & ((values == 0) | (values == 1))
    filled = np.full(values.shape, UNLABELLED, np.uint8)
    filled[known] = values[known] == 1
    return filled


def _match(path: Path, label: LabelFile, heatmap: HeatmapFile) -> Labels:
    shape = heatmap.values.shape
    if label.crs is None or heatmap.crs is None:
        if label.values.shape != shape:
            raise SceneError(
                f"{path} ({label.values.shape}) and the heatmap ({shape}) do not both have a CRS, "
                "so they can only be compared pixel by pixel, and their shapes differ.",
                field="label",
            )
        bare = label.crs is None and heatmap.crs is None
        note = "One of label and heatmap has no CRS; they were compared pixel by pixel."
        return Labels(label.values, () if bare else (note,))
    same = label.transform.almost_equals(heatmap.transform, 1e-6) and label.crs == heatmap.crs
    if same and label.values.shape == shape:
        return Labels(label.values)
    resampled = np.full(shape, UNLABELLED, np.uint8)
    reproject(
        label.values,
        resampled,
        src_transform=label.transform,
        src_crs=label.crs,
        src_nodata=UNLABELLED,
        dst_transform=heatmap.transform,
        dst_crs=heatmap.crs,
        dst_nodata=UNLABELLED,
        resampling=Resampling.nearest,
    )
    if (resampled == UNLABELLED).all():
        raise _no_overlap(path)
    return Labels(resampled, ("The label was resampled (nearest) to the heatmap's grid.",))


def _read_polygons(path: Path, heatmap: HeatmapFile) -> Labels:
    # Imported late: geopandas costs half a second that a raster label need not pay.
    import geopandas
    from pyogrio.errors import DataSourceError

    try:
        frame = geopandas.read_file(path)
    except (DataSourceError, OSError) as error:
        raise _unreadable(path, "label", error) from error
    if heatmap.crs is not None and frame.crs is not None:
        frame = frame.to_crs(heatmap.crs.to_wkt())
    elif (heatmap.crs is None) != (frame.crs is None):
        raise SceneError(
            f"Only one of {path} and the heatmap has a CRS, so the polygons cannot be placed; "
            "give a label raster on the heatmap's pixel grid.",
            field="label",
        )
    polygons = [
        (geometry, 1)
        for geometry in frame.geometry
        if geometry is not None and geometry.geom_type in ("Polygon", "MultiPolygon")
    ]
    shape = heatmap.values.shape
    values = np.zeros(shape, np.uint8)
    if polygons:
        values = rasterize(polygons, out_shape=shape, transform=heatmap.transform, dtype=np.uint8)
    if not values.any():
        raise _no_overlap(path)
    return Labels(values, (f"{len(polygons)} polygons are anomalous, the rest is normal.",))


def _unreadable(path: Path, field: str, error: Exception) -> SceneError:
    noun = "label" if field == "label" else "heatmap"
    return SceneError(f"The {noun} {path} cannot be read: {error}", field=field)


def _no_overlap(path: Path) -> SceneError:
    return SceneError(
        f"{path} marks no pixel of the heatmap: they do not overlap, or it has no label there. "
        "Check its CRS and extent.",
        field="label",
    )
