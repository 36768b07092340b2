"""Frames of polygons as files of the formats whose standards leave something to do."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import shapely

if TYPE_CHECKING:
    import geopandas

DECIMALS = 8
"""Of a degree: a millimetre."""


def write_gpkg(frame: geopandas.GeoDataFrame, path: Path) -> None:
    with warnings.catch_warnings():
        # A pixel grid without CRS is no mistake here.
        warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)
        frame.to_file(path, driver="GPKG", layer="anomalies", geometry_type="Unknown")


def write_geojson(frame: geopandas.GeoDataFrame, path: Path) -> None:
    """RFC 7946: WGS 84, outlines counter-clockwise; without a CRS the coordinates as they are.

    GDAL would take three times as long, most of the time that all vectors need.
    """
    lonlat = frame if frame.crs is None else frame.to_crs("EPSG:4326")
    shapes = shapely.orient_polygons(lonlat.geometry.to_numpy())
    shapes = shapely.transform(shapes, lambda points: points.round(DECIMALS))
    rows = lonlat.drop(columns="geometry").to_json(orient="records", lines=True)
    features = ",\n".join(
        f'{{"type":"Feature","properties":{row},"geometry":{shape}}}'
        for row, shape in zip(rows.strip().splitlines(), shapely.to_geojson(shapes), strict=True)
    )
    path.write_text(
        f'{{"type":"FeatureCollection","name":"anomalies","features":[\n{features}\n]}}\n',
        encoding="utf-8",
    )
