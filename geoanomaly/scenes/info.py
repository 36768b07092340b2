"""What a raster file is, found out without reading all of it, and how two of them fit together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError, RasterioIOError
from rasterio.windows import Window

from geoanomaly.errors import SceneError
from geoanomaly.scenes.areas import crs_name
from geoanomaly.scenes.sensors import Sensor, flag_kind, guess_sensor, sensor_named, standard_names
from geoanomaly.types import Scene
from tiling.source import RasterSource


@dataclass(frozen=True)
class SceneInfo:
    """A scene after a look at its file.

    source: its data bands (without alpha), in physical units, on its own grid.
    flag_bands: (1-based index, entry of `FLAG_BANDS`) of bands that are masks, not data.
    """

    scene: Scene
    sensor: Sensor
    band_names: tuple[str, ...]
    geobox: GeoBox
    source: RasterSource
    notes: tuple[str, ...] = ()
    flag_bands: tuple[tuple[int, str], ...] = ()

    @property
    def georeferenced(self) -> bool:
        return self.geobox.crs is not None


def inspect(scene: Scene, *, field: str, sensor: str | None = None) -> SceneInfo:
    """Open a scene and find out what it is; SceneError names `field` and says what to do.

    sensor: overrides the scene's own and the guess.
    """
    chosen = sensor or scene.sensor
    try:
        with rasterio.open(scene.href) as raster:
            _check_whole(raster, scene.href, field)
            return _inspect_open(scene, raster, chosen, field)
    except RasterioError as error:
        raise SceneError(_open_failure(scene.href, error), field=field) from None


def _inspect_open(scene: Scene, raster: Any, chosen: str | None, field: str) -> SceneInfo:
    if not raster.count:
        raise SceneError(_no_bands(scene.href, raster.subdatasets), field=field)
    flags = _flag_bands(raster)
    bands = _data_bands(raster, chosen, flags)
    if not bands:
        raise SceneError(
            f"{scene.href} has no data, only {flags[0][1]}. Give it as the mask of a scene.",
            field=field,
        )
    dtype = raster.dtypes[bands[0] - 1]
    if np.dtype(dtype).kind == "c":
        raise SceneError(f"{scene.href} has complex pixels ({dtype}). Give amplitude.", field=field)
    descriptions = standard_names([raster.descriptions[i - 1] for i in bands])
    geobox = GeoBox(raster.shape, raster.transform, raster.crs)
    alpha = len(bands) + len(flags) < raster.count
    name = chosen or guess_sensor(descriptions, dtype, metres(geobox), alpha=alpha)
    found = sensor_named(name)
    plural = "s" if len(bands) > 1 else ""
    notes = () if chosen else (f"{scene.label}: {len(bands)} band{plural}, taken as {name}.",)
    names = _band_names(found, descriptions, field)
    scale, offset = _scaling(raster, found, dtype)
    source = RasterSource(
        str(scene.href), bands, nodata=_nodata(raster, found, dtype), scale=scale, offset=offset
    )
    return SceneInfo(scene, found, names, geobox, source, notes, flags)


def _flag_bands(raster: Any) -> tuple[tuple[int, str], ...]:
    kinds = ((index, flag_kind(raster.descriptions[index - 1])) for index in raster.indexes)
    return tuple((index, kind) for index, kind in kinds if kind)


def _data_bands(
    raster: Any, chosen: str | None, flags: tuple[tuple[int, str], ...]
) -> tuple[int, ...]:
    """All bands but those that are flags, and but a true alpha band.

    GDAL calls the fourth band of any 8-bit file alpha, also where it is infrared.
    """
    everything = tuple(index for index in raster.indexes if index not in dict(flags))
    data = tuple(i for i in everything if raster.colorinterp[i - 1] is not ColorInterp.alpha)
    if data == everything:
        return data
    wanted = sensor_named(chosen).layouts if chosen else ()
    counts = {len(layout) for layout in wanted}
    if (len(everything) in counts) != (len(data) in counts):  # the sensor chosen tells
        return everything if len(everything) in counts else data
    alpha = next(i for i in everything if i not in data)
    return data if _is_transparency(raster, alpha) else everything


def _is_transparency(raster: Any, band: int) -> bool:
    """Is this band, in the middle of the raster, mostly all or nothing?"""
    height, width = min(raster.height, 256), min(raster.width, 256)
    middle = Window((raster.width - width) // 2, (raster.height - height) // 2, width, height)
    values = raster.read(band, window=middle)
    opaque = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else values.max()
    # 255 is also how some writers say "opaque" in 16 bits.
    return bool(np.isin(values, (0, 1, 255, opaque)).mean() > 0.5)


def _no_bands(href: str, parts: list[str]) -> str:
    if not parts:
        return f"{href} has no bands. Give a raster with at least one."
    some = ", ".join(parts[:3]) + (", ..." if len(parts) > 3 else "")
    return (
        f"{href} is a container of {len(parts)} rasters, and has no bands itself. Name one of "
        f"them ({some}), or stack its bands into one GeoTIFF."
    )


def _band_names(sensor: Sensor, descriptions: Sequence[str | None], field: str) -> tuple[str, ...]:
    """The file's own names when all bands have different ones, else the sensor's layout."""
    given = [name for name in descriptions if name]
    if len(given) == len(descriptions) == len(set(given)) and (
        not sensor.layouts or set(given) <= {name for s in sensor.layouts for name in s}
    ):
        return tuple(given)
    return sensor.band_names(len(descriptions), field=field)


def _scaling(raster: Any, sensor: Sensor, dtype: str) -> tuple[float, float]:
    """The file's own scale and offset, else the sensor's for 16-bit products."""
    own = (raster.scales[0], raster.offsets[0])
    if own != (1.0, 0.0):
        return own
    return (sensor.scale, sensor.offset) if dtype in ("uint16", "int16") else (1.0, 0.0)


def _nodata(raster: Any, sensor: Sensor, dtype: str) -> float | None:
    if raster.nodata is not None or sensor.nodata is None or dtype not in ("uint16", "int16"):
        return None  # the file's own masks hold
    return sensor.nodata


def _check_whole(raster: Any, href: str, field: str) -> None:
    """Refuse a truncated GeoTIFF: it opens well, and fails when its last blocks are read."""
    path = Path(href)
    if raster.driver != "GTiff" or not path.is_file():
        return
    size = path.stat().st_size
    for band in {1, raster.count}:
        end = max(
            (_block_end(raster, band, index) for index, _ in raster.block_windows(band)), default=0
        )
        if end > size:
            raise SceneError(
                f"{href} is truncated: its blocks reach to byte {end:,}, it ends at {size:,}. "
                "Copy or download it again.",
                field=field,
            )
    try:
        raster.read(raster.count, window=Window(raster.width - 1, raster.height - 1, 1, 1))
    except RasterioIOError as error:
        raise SceneError(f"{href} cannot be read to its end: {error}.", field=field) from None


def _block_end(raster: Any, band: int, index: tuple[int, int]) -> int:
    """Offset behind a block of a TIFF in bytes; 0 for a sparse one."""
    row, col = index
    offset = raster.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=band)
    size = raster.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=band)
    return int(offset) + int(size) if offset and size else 0


def _open_failure(href: str, error: RasterioError) -> str:
    if not href.strip():
        return "The scene has no name. Give the path or address of a raster."
    if "://" not in href and not href.startswith("/vsi") and not Path(href).exists():
        return f"There is no file {href}."
    return f"{href} cannot be opened as a raster: {error}."


def metres(geobox: GeoBox) -> float | None:
    """Pixel size in metres, roughly; None without a CRS."""
    if geobox.crs is None:
        return None
    # Along the meridian: there a degree has one length, and exports are named after it.
    size = abs(geobox.resolution.y)
    return float(size * 111_320 if geobox.crs.geographic else size)


@dataclass(frozen=True)
class Alignment:
    """The before scene's pixels on the after scene's grid, and what was done for it."""

    source: RasterSource
    notes: tuple[str, ...] = field(default=())


def align(before: SceneInfo, after: SceneInfo) -> Alignment:
    """Lay the before scene on the after scene's grid; SceneError when they share no ground."""
    if before.georeferenced and after.georeferenced:
        return _align_on_ground(before, after)
    if before.geobox.shape != after.geobox.shape:
        missing = (
            "neither scene has"
            if before.georeferenced == after.georeferenced
            else "one scene has no"
        )
        raise SceneError(
            f"The before scene is {_size(before.geobox)}, the after scene {_size(after.geobox)} "
            f"pixels, and {missing} CRS to lay one on the other. Give both a CRS, or cut them "
            "alike.",
            field="before",
        )
    if before.georeferenced == after.georeferenced:
        return Alignment(before.source, ("No CRS: the scenes are compared pixel by pixel.",))
    return Alignment(
        before.source, ("Only one scene has a CRS: their pixels are taken to lie on one grid.",)
    )


def _align_on_ground(before: SceneInfo, after: SceneInfo) -> Alignment:
    assert after.geobox.crs is not None  # both are georeferenced
    if same_grid(before.geobox, after.geobox):
        return Alignment(before.source)
    shared = before.geobox.extent.to_crs(after.geobox.crs, resolution="auto") & after.geobox.extent
    if _empty(shared):
        raise SceneError(
            f"The scenes do not overlap: before covers {_where(before.geobox)}, after covers "
            f"{_where(after.geobox)}. Choose two scenes of one place.",
            field="before",
        )
    source = before.source
    moved = RasterSource(
        source.href, source.bands, after.geobox, source.nodata, source.scale, source.offset
    )
    share = shared.area / after.geobox.extent.area
    note = (
        f"The before scene ({_grid(before.geobox)}) was resampled bilinearly to the after scene's "
        f"grid ({_grid(after.geobox)}); it covers {share:.0%} of it."
    )
    return Alignment(moved, (note,))


def same_grid(a: GeoBox, b: GeoBox) -> bool:
    """Equal grids but for rounding: corners within a thousandth of a pixel."""
    if a.shape != b.shape or a.crs != b.crs:
        return False
    height, width = a.shape
    return all(
        math.dist(~b.affine * (a.affine * corner), corner) < 1e-3
        for corner in ((0, 0), (width, 0), (0, height))
    )


def _empty(geometry: Geometry) -> bool:
    return bool(geometry.is_empty or geometry.area == 0)


def _size(geobox: GeoBox) -> str:
    return f"{geobox.shape[1]} x {geobox.shape[0]}"


def _grid(geobox: GeoBox) -> str:
    return f"{_size(geobox)} px of {abs(geobox.resolution.x):g}, {crs_name(geobox)}"


def _where(geobox: GeoBox) -> str:
    box = geobox.geographic_extent.boundingbox
    return f"{box.left:.4f},{box.bottom:.4f} to {box.right:.4f},{box.top:.4f} degrees"
