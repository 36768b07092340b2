"""GeoJSON as its standard wants it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from shapely.geometry import MultiPolygon, Polygon, box, shape

from geoanomaly.results.vectors import write_geojson
from tests.rasters import UTM

RING = box(500_000, 5_400_000, 500_030, 5_400_030).difference(
    box(500_010, 5_400_010, 500_020, 5_400_020)
)
PARTS = MultiPolygon([RING, box(500_100, 5_400_000, 500_110.02, 5_400_010)])
NOTE = 'two\nlines\u2028, "quotes", \x85 and Grün'


def written(path: Path, frame: geopandas.GeoDataFrame) -> list[dict[str, Any]]:
    write_geojson(frame, path)
    text = json.loads(path.read_text(encoding="utf-8"))
    assert text["type"] == "FeatureCollection"
    assert "crs" not in text
    return list(text["features"])


def test_degrees_and_rings_are_in_the_order_of_the_standard(tmp_path: Path) -> None:
    clockwise = Polygon(RING.exterior.coords[::-1], [RING.interiors[0].coords])
    columns = {"id": [1, 2], "area_m2": [np.nan, 3.5], "note": [NOTE, ""]}
    frame = geopandas.GeoDataFrame(columns, geometry=[clockwise, PARTS], crs=UTM)
    one, two = written(tmp_path / "a.geojson", frame)
    assert one["properties"] == {"id": 1, "area_m2": None, "note": NOTE}
    assert two["properties"] == {"id": 2, "area_m2": 3.5, "note": ""}
    for feature, source in ((one, clockwise), (two, PARTS)):
        found = shape(feature["geometry"])
        for part in shapely.get_parts(found):
            assert part.exterior.is_ccw
            assert not any(hole.is_ccw for hole in part.interiors)
        back = geopandas.GeoSeries([found], crs="EPSG:4326").to_crs(UTM)[0]
        assert shapely.hausdorff_distance(back, source) < 0.002  # metres
    again = geopandas.read_file(tmp_path / "a.geojson")
    assert again.crs == "EPSG:4326"
    assert again["note"][0] == NOTE


def test_without_a_crs_the_coordinates_stay(tmp_path: Path) -> None:
    frame = geopandas.GeoDataFrame({"id": [1]}, geometry=[box(3, 4, 7, 9)])
    (feature,) = written(tmp_path / "a.geojson", frame)
    assert shape(feature["geometry"]).equals(box(3, 4, 7, 9))


@pytest.mark.parametrize("crs", [None, UTM])
def test_no_polygon_is_a_collection_too(tmp_path: Path, crs: str | None) -> None:
    frame = geopandas.GeoDataFrame({"id": np.empty(0, int)}, geometry=[], crs=crs)
    assert written(tmp_path / "a.geojson", frame) == []
