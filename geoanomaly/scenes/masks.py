"""Pixels to leave out of a scene: clouds and their shadows, water, and what a user names.

Sentinel-2 scene classification (SCL): left out are 0 no data, 1 saturated or
defective, 3 cloud shadow, 8 and 9 cloud, 10 thin cirrus. Kept are 2 (dark areas:
burnt ground and deep water are among them) and 11 (snow: it lies on the ground, and
winter scenes have little else).

Landsat Collection 2 QA_PIXEL: left out are the bits 0 fill, 1 dilated cloud, 2
cirrus, 3 cloud and 4 cloud shadow; bit 5, snow, is kept for the same reason.

Any other raster: what is neither 0 nor nodata is left out. Polygons: what they cover.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from scipy.ndimage import binary_dilation
from shapely.geometry.base import BaseGeometry

from geoanomaly.errors import AreaError, SceneError
from geoanomaly.scenes.areas import covered, on_grid, read_area
from geoanomaly.scenes.info import SceneInfo, same_grid
from geoanomaly.scenes.sensors import FLAG_BANDS, flag_kind, water_bands
from geoanomaly.types import Scene
from tiling.source import RasterSource, open_lazy, read_padded

SCL_MISSING, SCL_CLOUDS = (0, 1), (3, 8, 9, 10)
QA_MISSING, QA_CLOUDS = 0b00001, 0b11110

GROWTH = 3
"""Pixels by which clouds and shadows of an SCL grow on all sides, as Fmask has it (Zhu & Woodcock
2012, RSE 118): haze begins where the class ends. QA_PIXEL has a bit of its own for that."""

Shift = tuple[float, float]
Pixels = NDArray[np.bool_]


class Mask(Protocol):
    """What to leave out, on one grid. Picklable."""

    def left_out(self, rows: slice, cols: slice) -> Pixels:
        """Bool (y, x), True = leave out; the window may reach beyond the grid."""
        ...


@dataclass(frozen=True)
class RasterMask:
    """A band of a raster. kind: "SCL", "QA_PIXEL", or None where not 0 means leave out."""

    source: RasterSource
    kind: str | None

    def left_out(self, rows: slice, cols: slice) -> Pixels:
        grow = GROWTH if self.kind == "SCL" else 0
        wider = (slice(part.start - grow, part.stop + grow) for part in (rows, cols))
        values = read_padded(open_lazy(self.source, ("mask",)), *wider)[0]
        clouds, others = decode(values, self.kind)
        if grow:
            clouds = binary_dilation(clouds, np.ones((3, 3), bool), iterations=grow)
        height, width = clouds.shape
        return np.asarray((clouds | others)[grow : height - grow, grow : width - grow])


def decode(values: NDArray[np.float32], kind: str | None) -> tuple[Pixels, Pixels]:
    """What is cloud or shadow, and what else is left out; values (y, x), NaN = says nothing."""
    known = np.isfinite(values)
    if kind == "SCL":
        return np.isin(values, SCL_CLOUDS), ~known | np.isin(values, SCL_MISSING)
    if kind == "QA_PIXEL":
        bits = np.where(known, values, 0).astype(np.uint16)
        return (bits & QA_CLOUDS) > 0, ~known | ((bits & QA_MISSING) > 0)
    return np.zeros_like(known), known & (values != 0)


@dataclass(frozen=True)
class PolygonMask:
    """Polygons in the CRS of a grid, moved down and right by so many of its pixels."""

    geometry: BaseGeometry
    grid: GeoBox
    moved: Shift

    def left_out(self, rows: slice, cols: slice) -> Pixels:
        down, right = self.moved
        corner = self.grid.affine * Affine.translation(cols.start - right, rows.start - down)
        shape = rows.stop - rows.start, cols.stop - cols.start
        return covered(self.geometry, GeoBox(shape, corner, self.grid.crs))


def scene_masks(
    info: SceneInfo, source: RasterSource, *, field: str
) -> tuple[tuple[Mask, ...], tuple[str, ...]]:
    """All masks of a scene, and what to tell of them.

    source: its pixels where they are read from, on their own grid or on another, moved
        or not; the masks go with them. field: of the mask that the user named.
    """
    masks: list[Mask] = []
    notes = []
    for band, kind in info.flag_bands:
        masks.append(RasterMask(_like(source, source.href, band), kind))
        notes.append(f"{info.scene.label}: clouds and shadows of its band {kind} are left out.")
    if info.scene.mask is not None:
        mask, note = _named_mask(info, info.scene.mask, source, field)
        masks.append(mask)
        notes.append(note)
    return tuple(masks), tuple(notes)


def _like(source: RasterSource, href: str, band: int) -> RasterSource:
    """A band on the grid of another source, by nearest pixels: classes have no mean."""
    return RasterSource(
        href, (band,), source.grid, moved=source.moved, resampling=Resampling.nearest
    )


def _named_mask(info: SceneInfo, mask: Scene, source: RasterSource, field: str) -> tuple[Mask, str]:
    try:
        with rasterio.open(mask.href) as raster:
            band, kind = _flags(raster.descriptions, mask.label)
            grid = GeoBox(raster.shape, raster.transform, raster.crs)
    except RasterioError as error:
        return _polygon_mask(info, mask, source, field, error)
    found = _like(source, mask.href, band)
    if grid.crs and info.georeferenced:
        _require_overlap(grid, info, mask, field)
        if not same_grid(grid, info.geobox):
            found = replace(found, grid=source.grid or info.geobox)
    elif grid.shape != info.geobox.shape or source.grid is not None:
        raise SceneError(
            f"{mask.href} cannot be laid on {info.scene.href}: both need a CRS, unless they are "
            "of one size and the scene is not resampled.",
            field=field,
        )
    what = f"clouds and shadows of the {kind}" if kind else "what is not 0"
    return RasterMask(found, kind), f"{info.scene.label}: {what} in {mask.label} is left out."


def _flags(descriptions: Sequence[str | None], label: str) -> tuple[int, str | None]:
    """The band of a mask, 1-based, and its kind: by the band's name, else by the file's."""
    for band, name in enumerate(descriptions, start=1):
        if kind := flag_kind(name):
            return band, kind
    return 1, next((kind for kind in FLAG_BANDS if _holds(label, kind)), None)


def _holds(label: str, kind: str) -> bool:
    """Is it a word of a file name, as in T33UVP_20200701_SCL_20m.jp2?"""
    return re.search(rf"(?<![A-Z0-9]){kind}(?![A-Z0-9])", label.upper()) is not None


def _require_overlap(grid: GeoBox, info: SceneInfo, mask: Scene, field: str) -> None:
    assert info.geobox.crs is not None
    shared = grid.extent.to_crs(info.geobox.crs, resolution="auto") & info.geobox.extent
    if shared.is_empty:
        raise SceneError(
            f"{mask.href} covers nothing of {info.scene.href}. Give a mask of the same place.",
            field=field,
        )


def _polygon_mask(
    info: SceneInfo, mask: Scene, source: RasterSource, field: str, error: RasterioError
) -> tuple[Mask, str]:
    try:
        area = read_area(Path(mask.href), field=field)
    except AreaError as other:
        raise SceneError(
            f"{mask.href} can be used neither as a raster ({error}) nor as polygons ({other}).",
            field=field,
        ) from None
    if not info.georeferenced:
        raise SceneError(
            f"{info.scene.href} has no CRS, so polygons cannot be laid on it. Give a raster mask.",
            field=field,
        )
    grid = source.grid or info.geobox
    note = f"{info.scene.label}: what {mask.label} covers is left out."
    return PolygonMask(on_grid(area, grid), grid, source.moved), note


def water(data: NDArray[np.float32], bands: Sequence[str]) -> Pixels | None:
    """Open water in a scene, (band, y, x) -> (y, x); None where its bands cannot tell.

    Where green is brighter than short-wave infrared (MNDWI > 0, Xu 2006), or than near
    infrared where there is no other (NDWI > 0, McFeeters 1996). Snow passes for water
    in both.
    """
    found = water_bands(bands)
    if found is None:
        return None
    green, infrared = found
    return np.asarray(data[green] > data[infrared])
