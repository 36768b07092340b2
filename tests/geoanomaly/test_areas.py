"""Areas of interest: what is read, what is refused, and which pixels an area covers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.transform import Affine
from shapely.geometry import LineString, MultiPolygon, Polygon, box, mapping

from geoanomaly.errors import AreaError, SceneError
from geoanomaly.scenes.areas import area_from_geojson, check_area, clip_grid, parse_area
from geoanomaly.types import AOI, area_from_json, area_to_json
from tests.rasters import NORTH_UP, UTM

GRIDS = {
    "utm": GeoBox((40, 60), NORTH_UP, UTM),
    "south-up": GeoBox((40, 60), Affine(10, 0, 500_000, 0, 10, 5_400_000), UTM),
    "degrees": GeoBox((40, 60), Affine(1e-4, 0, 15, 0, -1e-4, 48.7), "EPSG:4326"),
    "rotated": GeoBox((40, 60), NORTH_UP * Affine.rotation(25), UTM),
}
BOWTIE = Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])


def centres(geobox: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of all pixel centres, (y, x) each."""
    rows, cols = np.indices(geobox.shape) + 0.5
    a = geobox.affine
    return a.a * cols + a.b * rows + a.c, a.d * cols + a.e * rows + a.f


def covered(geobox: GeoBox, area: AOI) -> np.ndarray:
    """What `clip_grid` says of every pixel of the whole grid."""
    clip = clip_grid(geobox, area)
    out = np.zeros(geobox.shape, dtype=bool)
    out[clip.rows, clip.cols] = clip.inside(geobox[clip.rows, clip.cols])
    return out


@given(
    name=st.sampled_from(sorted(GRIDS)),
    corners=st.lists(
        st.tuples(st.floats(-20, 80), st.floats(-20, 60)), min_size=3, max_size=3, unique=True
    ),
)
def test_an_area_covers_the_pixels_whose_centres_it_holds(
    name: str, corners: list[tuple[float, float]]
) -> None:
    geobox = GRIDS[name]
    triangle = Polygon([geobox.affine * corner for corner in corners])
    assume(Polygon(corners).area > 1)
    x, y = centres(geobox)
    wanted = shapely.contains_xy(triangle, x, y)
    # A centre on an edge may fall either way.
    edge = shapely.distance(triangle.exterior, shapely.points(x, y)) < 1e-6 * abs(
        geobox.resolution.x
    )
    area = AOI(triangle, str(geobox.crs))
    if not (wanted | edge).any():
        with pytest.raises(AreaError, match="covers no pixel"):
            clip_grid(geobox, area)
        return
    assume((wanted & ~edge).any())
    assert np.array_equal(covered(geobox, area) | edge, wanted | edge)


@given(st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0.1, 0.8))
def test_an_area_in_degrees_is_laid_on_a_metric_grid(left: float, low: float, side: float) -> None:
    """Against pyproj: a pixel is in when its centre, in degrees, is in the box of degrees."""
    geobox = GRIDS["utm"]
    x, y = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(*centres(geobox))
    wide, tall = np.ptp(x), np.ptp(y)
    asked = box(
        x.min() + left * wide,
        y.min() + low * tall,
        x.min() + (left + side) * wide,
        y.min() + (low + side) * tall,
    )
    wanted = shapely.contains_xy(asked, x, y)
    assume(wanted.any())
    # The edges are curves in UTM; straight pieces may miss them by a hundredth of a pixel.
    edge = shapely.distance(asked.exterior, shapely.points(x, y)) < 1e-6
    assert np.array_equal(covered(geobox, AOI(asked)) | edge, wanted | edge)


def test_the_clip_is_tight() -> None:
    geobox = GRIDS["utm"]
    left, top = NORTH_UP @ (7, 5)
    right, bottom = NORTH_UP @ (20, 11)
    clip = clip_grid(geobox, AOI(box(left, bottom, right, top), UTM))
    assert (clip.rows, clip.cols) == (slice(5, 11), slice(7, 20))


@pytest.mark.parametrize(
    "area",
    [
        AOI(box(-180, -90, 180, 90)),
        AOI(box(-120, 10, 100, 80)),
        AOI(box(-2e7, -2e7, 2e7, 2e7), "EPSG:3857"),
    ],
)
def test_a_continent_covers_a_scene_of_one_zone(area: AOI) -> None:
    """Its far corners have no place in the scene's projection."""
    assert covered(GRIDS["utm"], area).all()


def test_a_grid_across_the_antimeridian() -> None:
    geobox = GeoBox((20, 20), Affine(1000, 0, 824_000, 0, -1000, 10_000), "EPSG:32660")
    x, _ = Transformer.from_crs("EPSG:32660", "EPSG:4326", always_xy=True).transform(
        *centres(geobox)
    )
    assert (x > 0).any()
    assert (x < 0).any()
    assert np.array_equal(covered(geobox, AOI(box(179, -1, 180, 1))), x > 0)


def test_no_area_is_the_whole_grid() -> None:
    clip = clip_grid(GRIDS["utm"], None)
    assert (clip.rows, clip.cols) == (slice(0, 40), slice(0, 60))
    assert clip.inside(GRIDS["utm"]).all()


def test_an_area_outside_is_told_where_the_scene_is() -> None:
    with pytest.raises(AreaError, match=r"covers no pixel.*500000.*EPSG:32633.*Move") as caught:
        clip_grid(GRIDS["utm"], AOI(box(16, 48, 16.1, 48.1)))
    assert caught.value.field == "aoi"


def test_an_area_needs_a_scene_with_a_crs() -> None:
    with pytest.raises(SceneError, match=r"no CRS.*gdal_edit") as caught:
        clip_grid(GeoBox((9, 9), Affine.identity(), None), AOI(box(0, 0, 1, 1)), scene_field="x")
    assert caught.value.field == "x"


@pytest.mark.parametrize(
    ("area", "message"),
    [
        (AOI(BOWTIE), r"Self-intersection\[1 1\].*no edge crosses"),
        (AOI(Polygon()), "empty"),
        (AOI(LineString([(0, 0), (1, 1)])), "LineString.*Give a Polygon"),
        (AOI(box(0, 0, 200, 1)), r"200,1.*\+-180.*longitude before latitude"),
        (AOI(box(0, 0, 1, 90.5)), "90.5.*outside"),
        (AOI(box(0, 0, 1, 1), "EPSG:999999"), "'EPSG:999999' is not a CRS.*EPSG:4326"),
        (AOI(box(0, 0, np.inf, 1)), "not numbers"),
    ],
)
def test_areas_that_are_refused(area: AOI, message: str) -> None:
    with pytest.raises(AreaError, match=message) as caught:
        check_area(area, field="exclude")
    assert caught.value.field == "exclude"


def test_good_areas_come_back_as_they_are() -> None:
    for geometry in (
        box(-180, -90, 180, 90),
        MultiPolygon([box(0, 0, 1, 1), box(2, 2, 3, 3)]),
        box(0, 0, 5, 5).difference(box(1, 1, 2, 2)),
    ):
        area = AOI(geometry)
        assert check_area(area) is area
    metres = AOI(box(4e5, 5e6, 5e5, 6e6), UTM)
    assert check_area(metres) is metres


def test_text_is_a_box_in_degrees() -> None:
    area = parse_area("14.5,48,15,48.25")
    assert (area.geometry.bounds, area.crs) == ((14.5, 48, 15, 48.25), "EPSG:4326")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nowhere.gpkg", "'nowhere.gpkg' is neither a file nor minx,miny,maxx,maxy"),
        ("1,2,3", "neither"),
        ("1,2,x,4", "not a number"),
        ("nan,0,1,1", "no finite number"),
        ("15,48,14,49", "empty: it needs minx < maxx"),
        ("500000,0,500100,1", "outside"),
        ("9" * 5000, "neither"),
    ],
)
def test_text_that_is_refused(text: str, message: str) -> None:
    with pytest.raises(AreaError, match=message) as caught:
        parse_area(text, field="aoi")
    assert caught.value.field == "aoi"


def test_a_file_keeps_its_crs_and_joins_its_polygons(tmp_path: Path) -> None:
    path = tmp_path / "area.gpkg"
    parts = [box(0, 0, 10, 10), box(10, 0, 20, 10), box(50, 50, 60, 60)]
    geopandas.GeoDataFrame(geometry=parts, crs=UTM).to_file(path)
    area = parse_area(str(path))
    assert area.crs == UTM
    assert area.geometry.equals(MultiPolygon([box(0, 0, 20, 10), box(50, 50, 60, 60)]))


@pytest.mark.parametrize(
    ("geometry", "message"), [(BOWTIE, "Self-intersection"), (LineString([(0, 0), (1, 1)]), "Line")]
)
def test_a_file_with_one_bad_geometry_is_refused(
    tmp_path: Path, geometry: Any, message: str
) -> None:
    """Joining would mend a bow-tie in silence."""
    path = tmp_path / "area.geojson"
    geopandas.GeoDataFrame(geometry=[box(5, 5, 6, 6), geometry], crs="EPSG:4326").to_file(path)
    with pytest.raises(AreaError, match=message):
        parse_area(str(path))


def test_files_that_hold_no_area(tmp_path: Path) -> None:
    text = tmp_path / "notes.geojson"
    text.write_text("not a vector file")
    with pytest.raises(AreaError, match=r"notes\.geojson cannot be read as a vector file"):
        parse_area(str(text))
    bare = tmp_path / "bare.shp"
    geopandas.GeoDataFrame(geometry=[box(0, 0, 1, 1)], crs="EPSG:4326").to_file(bare)
    bare.with_suffix(".prj").unlink()
    with pytest.raises(AreaError, match=r"bare\.shp has no CRS"):
        parse_area(str(bare))


def collection(*geometries: Any) -> dict[str, Any]:
    features = [{"type": "Feature", "properties": {}, "geometry": each} for each in geometries]
    return {"type": "FeatureCollection", "features": features}


def test_geojson_in_its_three_forms() -> None:
    square = box(1, 2, 3, 4)
    for data in (
        mapping(square),
        collection(mapping(square))["features"][0],
        collection(mapping(square)),
    ):
        assert area_from_geojson(json.loads(json.dumps(data))).geometry.equals(square)
    both = area_from_geojson(collection(mapping(square), mapping(box(7, 7, 8, 8))))
    assert both.geometry.area == 5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "no GeoJSON geometry"),
        ({"type": 5}, "no GeoJSON geometry"),
        ({"type": "Polygon"}, "no GeoJSON geometry"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, "no GeoJSON geometry"),
        ({"type": "Polygon", "coordinates": [[[0, 0], ["a", 1], [2, 2], [0, 0]]]}, "no GeoJSON"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, np.nan], [0, 0]]]}, "not"),
        ({"type": "Polygon", "coordinates": []}, "empty"),
        ({"type": "Feature", "geometry": None}, "no GeoJSON geometry"),
        (collection(), "empty"),
        (collection(None), "no GeoJSON geometry"),
        (collection(mapping(box(0, 0, 1, 1)), mapping(BOWTIE)), "Self-intersection"),
        ({"type": "FeatureCollection", "features": [None]}, "no list of features"),
        ({"type": "FeatureCollection", "features": 5}, "no list of features"),
    ],
)
def test_geojson_that_is_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(AreaError, match=message) as caught:
        area_from_geojson(data, field="exclude")
    assert caught.value.field == "exclude"


def test_an_outline_that_crosses_itself_is_refused_with_the_place_or_repaired() -> None:
    with pytest.raises(AreaError, match=r"Self-intersection\[1 1\].*ask for its repair"):
        area_from_geojson(mapping(BOWTIE))
    found = area_from_geojson(mapping(BOWTIE), repair=True)
    assert found.geometry.is_valid
    assert found.geometry.area == pytest.approx(2)
    assert "Self-intersection[1 1]" in found.note
    # Two triangles at the equator, which the outline counts against each other.
    assert "it had 0 km2, it has 24615.8 km2 now" in found.note
    assert area_from_json(area_to_json(found)) == found


def test_a_valid_area_is_not_touched_by_repair() -> None:
    data = mapping(box(11, 47, 12, 48))
    assert area_from_geojson(data, repair=True) == area_from_geojson(data)


def test_an_outline_without_an_inside_cannot_be_repaired() -> None:
    flat = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2, 2], [0, 0]]]}
    with pytest.raises(AreaError, match="no inside"):
        area_from_geojson(flat, repair=True)


def test_a_file_is_repaired_too(tmp_path: Path) -> None:
    path = tmp_path / "tie.geojson"
    path.write_text(json.dumps(mapping(BOWTIE)))
    assert parse_area(str(path), repair=True).geometry.area == pytest.approx(2)
    with pytest.raises(AreaError, match="Self-intersection"):
        parse_area(str(path))


@pytest.mark.parametrize(
    "crs", ["+proj=longlat +nadgrids=/etc/passwd", "+init=/etc/passwd:x", "+proj=utm +file=/x"]
)
def test_a_crs_that_names_a_file_is_none(crs: str) -> None:
    with pytest.raises(AreaError, match="is not a CRS"):
        check_area(AOI(box(0, 0, 1, 1), crs))
