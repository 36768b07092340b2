"""What an analyst takes away: one result in the formats of other programs.

Rasters and vectors can be had in another CRS and at another threshold than the run's;
judgements go with the anomalies.
"""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from geoanomaly.errors import ParameterError
from geoanomaly.results.places import Places
from geoanomaly.results.rasters import HEATMAP, MASK, above, heatmap_profile, mask_profile
from geoanomaly.results.regions import centre, outlines
from geoanomaly.results.source import Source
from geoanomaly.results.vectors import write_geojson, write_gpkg
from geoanomaly.types import Progress, Report, silent
from tiling.cog import write_cog
from tiling.grid import TileGrid
from tiling.types import Tile

if TYPE_CHECKING:
    import geopandas

RASTERS = (HEATMAP, MASK)
KML = "anomalies.kml"
VECTORS = (
    "anomalies.gpkg",
    "anomalies.geojson",
    "anomalies.parquet",
    KML,
    "anomalies.csv",
)
PICTURE, MAP, EVERYTHING = "map.png", "map.html", "everything.zip"
NAMES = (*RASTERS, *VECTORS, PICTURE, MAP, EVERYTHING)

_CODE = re.compile(r"(EPSG|ESRI|OGC):\w{2,12}", re.IGNORECASE)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def known_crs(text: str | None) -> str | None:
    """A CRS by its code, or ParameterError whose `field` is crs; None = the heatmap's own."""
    if text is None or not text.strip():
        return None
    try:
        # Codes only: the other forms may name files.
        found = CRS.from_user_input(text.strip()) if _CODE.fullmatch(text.strip()) else None
    except CRSError:
        found = None
    if found is None or not (found.is_projected or found.is_geographic):
        raise ParameterError(
            f"{text!r} is not the code of a CRS. Use for instance EPSG:4326.", field="crs"
        )
    return text.strip()


def write(source: Source, name: str, folder: Path, report: Report = silent) -> Path:
    """Write one of `NAMES` into a folder; ParameterError where it needs a CRS and there is none.

    report: told how far it is, between tiles and files; it may raise to stop.
    """
    if source.hot.crs is None:
        _refuse_places(source, name)
    target = folder / name
    if name in source.ready:
        _take_over(source.ready[name], target)
    elif name in RASTERS:
        _write_raster(source, target, report)
    elif name in VECTORS:
        _write_vector(anomaly_frame(source), target)
    elif name == PICTURE:
        from geoanomaly.results.print_map import print_map  # matplotlib takes half a second

        print_map(source, target)
    elif name == MAP:
        _write_map(source, target)
    else:
        _write_everything(source, target, report)
    return target


def _refuse_places(source: Source, name: str) -> None:
    if source.crs is not None:
        raise ParameterError(
            "The heatmap has no CRS, so it cannot be put into another. Leave out crs.",
            field="crs",
        )
    if name == KML:
        raise ParameterError(
            "The heatmap has no CRS, and KML knows nothing but longitude and latitude. "
            "anomalies.gpkg and anomalies.geojson have the outlines in pixels.",
            field="name",
        )


def _take_over(published: Path, target: Path) -> None:
    try:
        os.link(published, target)  # nothing is copied where both are on one disk
    except OSError:
        shutil.copyfile(published, target)


# Rasters


def _write_raster(source: Source, target: Path, report: Report) -> None:
    mask = target.name == MASK
    tags = {"GEOANOMALY_THRESHOLD": f"{source.threshold:.6f}"}
    profile = mask_profile(tags) if mask else heatmap_profile(tags)
    with _opened(source) as raster:
        grid = TileGrid(GeoBox(raster.shape, raster.transform, raster.crs), 1024, 0)
        write_cog(target, grid.geobox, profile, _cores(raster, grid, source, mask, report))


@contextmanager
def _opened(source: Source) -> Iterator[Any]:
    """The heatmap in the CRS that is wanted, by nearest pixels: values stay what they mean."""
    with rasterio.open(source.heatmap) as raster:
        if source.crs is None:
            yield raster
            return
        with WarpedVRT(
            raster, crs=source.crs, resampling=Resampling.nearest, nodata=np.nan
        ) as warped:
            yield warped


def _cores(
    raster: Any, grid: TileGrid, source: Source, mask: bool, report: Report
) -> Iterator[tuple[Tile, NDArray[Any]]]:
    for number, tile in enumerate(grid):
        # What follows the last tile, overviews and compression, takes about as long.
        report(Progress(MASK if mask else HEATMAP, 50 * number / len(grid), "tiles"))
        rows, cols = tile.core
        core = raster.read(1, window=rasterio.windows.Window.from_slices(rows, cols))
        yield tile, above(core, source.threshold) if mask else core
    report(Progress(MASK if mask else HEATMAP, 50, "compressing"))


# Vectors


def anomaly_frame(source: Source) -> geopandas.GeoDataFrame:
    """All anomalies with their evidence and judgements, the strongest first."""
    import geopandas  # half a second to import

    hot, found = source.hot, source.regions
    places = Places(hot.crs)
    natives = outlines(found, hot.transform)
    tops = np.array([centre(region, hot.transform) for region in found]).reshape(-1, 2)
    x, y = places.points(tops).T if hot.crs else tops.T
    said = [source.judgements.get(region.key) for region in found]
    names = ("lon", "lat") if hot.crs else ("x", "y")
    frame = geopandas.GeoDataFrame(
        {
            "id": np.array([region.id for region in found], dtype=np.int64),
            "peak": np.array([region.peak for region in found]).round(3),
            "mean": np.array([region.mean for region in found]).round(3),
            "p_value": np.array([10**-region.peak for region in found], dtype=float),
            "pixels": np.array([region.pixels for region in found], dtype=np.int64),
            "area_m2": places.areas(places.geometries(natives)).round(1),
            names[0]: x,
            names[1]: y,
            "verdict": [each.verdict.value if each else "" for each in said],
            "note": [each.note if each else "" for each in said],
            "judged": [each.at.isoformat(timespec="seconds") if each else "" for each in said],
        },
        geometry=natives,
        crs=hot.crs and hot.crs.to_wkt(),
    )
    return frame if source.crs is None else frame.to_crs(source.crs)


def _write_vector(frame: geopandas.GeoDataFrame, target: Path) -> None:
    kind = target.suffix
    if kind == ".gpkg":
        write_gpkg(frame, target)
    elif kind == ".parquet":
        frame.to_parquet(target)
    elif kind == ".geojson":
        write_geojson(frame, target)
    elif kind == ".kml":
        named = frame.assign(Name=[f"Anomaly {number}" for number in frame["id"]])
        named.to_crs("EPSG:4326").to_file(target, driver="KML", engine="pyogrio")
    else:
        _write_csv(frame, target)


def _write_csv(frame: geopandas.GeoDataFrame, target: Path) -> None:
    table = frame.assign(wkt=frame.geometry.to_wkt()).drop(columns="geometry")
    # A spreadsheet would run a note that begins like a formula.
    notes = [f"'{note}" if note.startswith(_FORMULA) else note for note in table["note"]]
    table.assign(note=notes).to_csv(target, index=False)


# Maps and the archive


def _write_map(source: Source, target: Path) -> None:
    from geoanomaly.results.portable import portable_map

    plain = anomaly_frame(source).drop(columns=["verdict", "note", "judged"])
    lonlat = plain if plain.crs is None else plain.to_crs("EPSG:4326")
    features = list(lonlat.iterfeatures())
    text = portable_map(
        source.heatmap, source.backdrops, features,
        threshold=source.threshold, basis=source.basis, doubts=source.doubts,
    )  # fmt: skip
    target.write_text(text)


def _write_everything(source: Source, target: Path, report: Report) -> None:
    names = [each for each in NAMES if each != EVERYTHING]
    if source.hot.crs is None:
        names.remove(KML)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, name in enumerate(names):
            part = _part(report, number, len(names))
            part(Progress(name, 0))
            path = write(source, name, target.parent, part)
            # Rasters and pictures are packed already.
            packed = path.suffix in (".tif", ".png", ".gpkg", ".parquet")
            archive.write(path, name, zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED)
            path.unlink()
        for path in source.companions:
            archive.write(path, path.name)


def _part(report: Report, number: int, parts: int) -> Report:
    """One part's progress as a share of the whole."""

    def told(progress: Progress) -> None:
        report(replace(progress, percent=(100 * number + progress.percent) / parts))

    return told
