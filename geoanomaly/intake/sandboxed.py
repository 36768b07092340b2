"""What a child may be asked to do. Imported by the template, so that a child need not wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas  # noqa: F401 - what area_file imports late
import rasterio
from rasterio.io import MemoryFile

from geoanomaly.intake.check import check as check_spec
from geoanomaly.intake.cleaning import Raw, examine, rewrite
from geoanomaly.sandbox.template import Tell
from geoanomaly.scenes.area_files import Sent, read_sent_area
from geoanomaly.scenes.areas import area_from_geojson
from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec, area_to_json


def look(arguments: dict[str, Any], _: Tell) -> dict[str, Any]:
    """Is it a raster that may be taken in? The answer is its size."""
    return vars(examine(_raw(arguments), arguments["max_pixels"]))


def clean(arguments: dict[str, Any], tell: Tell) -> None:
    """Write it anew, as `clean.tif` in a folder that holds nothing else."""
    rewrite(_raw(arguments), Path(arguments["folder"]), tell)


def area(arguments: dict[str, Any], _: Tell) -> dict[str, Any] | None:
    """The area of a GeoJSON value, joined, and repaired where that is asked."""
    data, crs, field = arguments["data"], arguments["crs"], arguments["field"]
    return area_to_json(area_from_geojson(data, crs, field=field, repair=arguments["repair"]))


def area_file(arguments: dict[str, Any], _: Tell) -> dict[str, Any]:
    """The same of a vector file."""
    sent = Sent(arguments["name"], arguments["repair"])
    found = read_sent_area(Path(arguments["path"]), sent)
    return {**vars(found), "area": area_to_json(found.area)}


def check(arguments: dict[str, Any], _: Tell) -> dict[str, Any]:
    """Price a request that names files which nobody has taken in yet."""
    settings = Settings.model_validate(arguments["settings"])
    for each in arguments["rasters"]:
        examine(_raw(each), settings.max_pixels)
    return vars(check_spec(JobSpec.from_json(arguments["spec"]), settings))


def _raw(arguments: dict[str, Any]) -> Raw:
    path, name = Path(arguments["path"]), str(arguments["name"])
    return Raw(path, name, arguments["drivers"], str(arguments["field"]))


def _warm_up() -> None:
    """Register the drivers and look a CRS up, which every child would do for itself otherwise."""
    grid = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 0, 0, -10, 0)}
    with (
        MemoryFile() as file,
        file.open(driver="GTiff", width=1, height=1, count=1, dtype="uint8", **grid) as raster,
    ):
        raster.crs.to_wkt()


_warm_up()
