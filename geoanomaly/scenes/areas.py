"""Areas of interest: read from text, files and GeoJSON, checked, and laid on a grid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.features import geometry_mask
from shapely.errors import ShapelyError
from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry

from geoanomaly.errors import AreaError, SceneError
from geoanomaly.scenes.area_checks import check_polygon, joined, repaired
from geoanomaly.types import AOI

_NAMED = re.compile(r"grids=(?!@null\b)|init=\W*/|file=|PARAMETERFILE", re.IGNORECASE)

MAX_CRS = 10_000
"""Characters; the longest definitions in use have half as many."""


@dataclass(frozen=True)
class Clip:
    """The part of a grid that an area covers.

    rows, cols: of the whole grid; geometry: the area in the grid's CRS, None = all of it.
    """

    rows: slice
    cols: slice
    geometry: BaseGeometry | None

    def placed(self, rows: slice, cols: slice) -> tuple[slice, slice]:
        """A window of the part, as one of the whole grid."""
        down, right = self.rows.start, self.cols.start
        return (
            slice(rows.start + down, rows.stop + down),
            slice(cols.start + right, cols.stop + right),
        )

    def wider(self, margin: float) -> Clip:
        """With more around the area, in units of the CRS; the part of the grid stays."""
        if self.geometry is None:
            return self
        return replace(self, geometry=self.geometry.buffer(margin))

    def inside(self, geobox: GeoBox) -> NDArray[np.bool_]:
        """Which pixels of `geobox` have their centre in the area, bool (y, x)."""
        if self.geometry is None:
            return np.ones(geobox.shape, dtype=bool)
        return covered(self.geometry, geobox)

    def beyond(self, geobox: GeoBox) -> bool:
        """Does all of `geobox` lie outside the area?"""
        if self.geometry is None:
            return False
        shapely.prepare(self.geometry)  # kept with it, for the next tile
        extent = geobox.extent.geom
        return not self.geometry.intersects(extent) or self.geometry.touches(extent)


def parse_area(text: str, *, field: str = "aoi", repair: bool = False) -> AOI:
    """An area from the command line: a vector file, or minx,miny,maxx,maxy in WGS 84 degrees."""
    if _is_file(text):
        return read_area(Path(text), field=field, repair=repair)
    parts = text.split(",")
    if len(parts) != 4:
        raise AreaError(
            f"{text!r} is neither a file nor minx,miny,maxx,maxy in degrees (WGS 84).", field=field
        )
    try:
        minx, miny, maxx, maxy = (float(part) for part in parts)
    except ValueError:
        raise AreaError(f"{text!r} has a part that is not a number.", field=field) from None
    if not np.isfinite((minx, miny, maxx, maxy)).all():
        raise AreaError(f"{text!r} has a part that is no finite number.", field=field)
    if minx >= maxx or miny >= maxy:
        raise AreaError(f"{text!r} is empty: it needs minx < maxx and miny < maxy.", field=field)
    return check_area(AOI(box(minx, miny, maxx, maxy)), field=field)


def _is_file(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError:  # longer than any file name
        return False


def read_area(path: Path, *, field: str = "aoi", repair: bool = False) -> AOI:
    """All polygons of a vector file, in the file's CRS."""
    import geopandas  # half a second to import, and only needed here

    try:
        frame = geopandas.read_file(path)
    except Exception as error:
        raise AreaError(f"{path} cannot be read as a vector file: {error}", field=field) from None
    if frame.crs is None:
        raise AreaError(f"{path} has no CRS. Assign one and save it again.", field=field)
    return _one_area(list(frame.geometry), frame.crs.to_string(), field=field, repair=repair)


def area_from_geojson(
    data: Any, crs: str = "EPSG:4326", *, field: str = "aoi", repair: bool = False
) -> AOI:
    """A checked area from a GeoJSON geometry, Feature or FeatureCollection.

    repair: an outline that crosses itself is made valid, and the area's note says so.
    """
    if not isinstance(data, Mapping):
        raise AreaError("Give a GeoJSON geometry, Feature or FeatureCollection.", field=field)
    kind = data.get("type")
    if kind == "FeatureCollection":
        geometries = _feature_geometries(data, field)
    else:
        geometries = [data.get("geometry") if kind == "Feature" else data]
    parts = [_geojson_geometry(each, field) for each in geometries]
    return _one_area(parts, crs, field=field, repair=repair)


def _one_area(parts: list[BaseGeometry], crs: str, *, field: str, repair: bool) -> AOI:
    if not parts:
        raise AreaError("The area is empty. Give a polygon.", field=field)
    notes = []
    if repair:
        check_crs(crs, field)
        mended = [repaired(part, crs, field=field) for part in parts]
        parts, notes = [part for part, _ in mended], [note for _, note in mended if note]
    return check_area(AOI(joined(parts, field), crs, " ".join(notes)), field=field)


def _feature_geometries(collection: Mapping[str, Any], field: str) -> list[Any]:
    features = collection.get("features")
    if not isinstance(features, list) or not all(isinstance(each, Mapping) for each in features):
        raise AreaError("This FeatureCollection has no list of features.", field=field)
    if not features:
        raise AreaError("The area is empty. Give a polygon.", field=field)
    return [feature.get("geometry") for feature in features]


def _geojson_geometry(data: Any, field: str) -> BaseGeometry:
    try:
        with np.errstate(invalid="ignore"):  # NaN is refused by name later
            return shape(data)
    except (
        ShapelyError,
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        OverflowError,
    ) as error:
        raise AreaError(f"This is no GeoJSON geometry: {error}.", field=field) from None


def check_area(area: AOI, *, field: str = "aoi") -> AOI:
    """The same area, or AreaError with the place and the remedy."""
    check_polygon(area.geometry, field)
    crs = check_crs(area.crs, field)
    minx, miny, maxx, maxy = area.geometry.bounds
    if crs.is_geographic and not (minx >= -180 and maxx <= 180 and miny >= -90 and maxy <= 90):
        raise AreaError(
            f"Coordinates {minx:g},{miny:g} to {maxx:g},{maxy:g} are outside +-180, +-90 degrees. "
            "Give longitude before latitude; split an area that crosses the antimeridian.",
            field=field,
        )
    return area


def check_crs(text: str, field: str) -> CRS:
    try:
        # PROJ compares a text that it does not know with all the names that it does.
        if len(text) > MAX_CRS or names_a_file(text):
            raise CRSError("Too long, or it names a file.")
        return CRS.from_user_input(text)
    except (CRSError, UnicodeError):
        raise AreaError(
            f"{text[:100]!r} is not a CRS. Use for instance EPSG:4326.", field=field
        ) from None


def names_a_file(crs: str) -> bool:
    """Would PROJ open a file that the text of a CRS names? @null is no file (EPSG:3857 has it)."""
    return _NAMED.search(crs) is not None


def clip_grid(geobox: GeoBox, area: AOI | None, *, scene_field: str = "after") -> Clip:
    """Where an area lies on a grid; AreaError when it lies outside, SceneError without a CRS."""
    height, width = geobox.shape
    if area is None:
        return Clip(slice(0, height), slice(0, width), None)
    if geobox.crs is None:
        raise SceneError(
            "The scene has no CRS, so an area cannot be laid on it. Assign one "
            "(gdal_edit.py -a_srs EPSG:...) or leave the area out.",
            field=scene_field,
        )
    return _clip_to_geometry(geobox, on_grid(area, geobox))


def on_grid(area: AOI, geobox: GeoBox) -> BaseGeometry:
    """An area in the CRS of a grid that has one; far from the grid it may be cut."""
    assert geobox.crs is not None
    near = Geometry(_near(area, geobox), area.crs)
    return near.to_crs(geobox.crs, resolution="auto").geom


def covered(geometry: BaseGeometry, geobox: GeoBox) -> NDArray[np.bool_]:
    """Which pixels of `geobox` have their centre in a geometry of its CRS, bool (y, x)."""
    return np.asarray(geometry_mask([geometry], tuple(geobox.shape), geobox.affine, invert=True))


def crs_name(geobox: GeoBox) -> str:
    """What people call the CRS of a grid: EPSG:32633, or its title where it has no code."""
    if geobox.crs is None:
        return "no CRS"
    code = geobox.crs.to_epsg()
    return f"EPSG:{code}" if code else str(geobox.crs.proj.name)


def _near(area: AOI, geobox: GeoBox) -> BaseGeometry:
    """The part of an area around a grid, in the area's CRS; all of it when none is there.

    A continent cannot be projected to one UTM zone: its far corners fold back.
    """
    minx, miny, maxx, maxy = geobox.extent.to_crs(area.crs, resolution="auto").geom.bounds
    if CRS.from_user_input(area.crs).is_geographic and maxx - minx > 180:
        return area.geometry  # the grid crosses the antimeridian, so these bounds say nothing
    margin = 0.1 * max(maxx - minx, maxy - miny)
    if not np.isfinite(margin):
        return area.geometry
    around = box(minx - margin, miny - margin, maxx + margin, maxy + margin)
    near = area.geometry.intersection(around)
    return area.geometry if near.is_empty else near


def _clip_to_geometry(geobox: GeoBox, geometry: BaseGeometry) -> Clip:
    inverse = ~geobox.affine
    minx, miny, maxx, maxy = geometry.bounds
    corners = [inverse * (x, y) for x in (minx, maxx) for y in (miny, maxy)]
    cols = _pixel_range([x for x, _ in corners], geobox.shape[1])
    rows = _pixel_range([y for _, y in corners], geobox.shape[0])
    clip = Clip(rows, cols, geometry)
    if (
        rows.start >= rows.stop
        or cols.start >= cols.stop
        or not clip.inside(geobox[rows, cols]).any()
    ):
        scene = tuple(round(v, 6) for v in geobox.boundingbox.bbox)
        asked = tuple(round(v, 6) for v in geometry.bounds)
        raise AreaError(
            f"The area {asked} covers no pixel of the scene, which covers {scene} (both in "
            f"{crs_name(geobox)}). Move the area onto the scene."
        )
    return clip


def _pixel_range(values: list[float], size: int) -> slice:
    return slice(max(int(np.floor(min(values))), 0), min(int(np.ceil(max(values))), size))
