"""Areas that are sent as files: four formats told by their content, and nothing else opened."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import geopandas
import pytest
import shapely
from shapely.geometry import MultiPolygon, Point, Polygon, box, shape

from tests.web.backend import Backend

HERE = box(11.0, 47.0, 11.2, 47.1)
THERE = box(11.5, 47.0, 11.6, 47.2)


def send(backend: Backend, name: str, content: bytes) -> Any:
    return backend.http.post("/areas", files={"file": (name, content)})


def accepted(backend: Backend, name: str, content: bytes) -> Any:
    response = send(backend, name, content)
    assert response.status_code == 200, response.text
    return response.json()


def refused(backend: Backend, name: str, content: bytes) -> str:
    response = send(backend, name, content)
    assert response.status_code == 400, response.text
    assert response.json()["field"] == "file"
    return str(response.json()["detail"])


def frame(*geometries: Any, crs: str | None = "EPSG:32632") -> geopandas.GeoDataFrame:
    found = geopandas.GeoDataFrame(geometry=list(geometries), crs="EPSG:4326")
    return found.set_crs(None, allow_override=True) if crs is None else found.to_crs(crs)


def written(path: Path, *geometries: Any, crs: str | None = "EPSG:32632", **options: Any) -> bytes:
    frame(*geometries, crs=crs).to_file(path, **options)
    return path.read_bytes()


def zipped(*paths: Path, folder: str = "") -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        for path in paths:
            archive.write(path, folder + path.name)
    return raw.getvalue()


def shapefile(folder: Path, *geometries: Any, crs: str | None = "EPSG:32632") -> list[Path]:
    written(folder / "field.shp", *geometries, crs=crs)
    return sorted(folder.glob("field.*"))


def equal(found: Any, wanted: Any, tolerance: float = 1e-7) -> bool:
    return bool(shapely.hausdorff_distance(shape(found["geometry"]), wanted) < tolerance)


def test_each_format_gives_the_same_area(backend: Backend, tmp_path: Path) -> None:
    both = MultiPolygon([HERE, THERE])
    sent = {
        "a.gpkg": written(tmp_path / "a.gpkg", HERE, THERE),
        "a.kml": written(tmp_path / "a.kml", HERE, THERE, crs="EPSG:4326", driver="KML"),
        "a.geojson": written(tmp_path / "a.geojson", HERE, THERE, crs="EPSG:4326"),
        "old.json": written(tmp_path / "old.geojson", HERE, THERE, RFC7946="NO"),
        "a.zip": zipped(*shapefile(tmp_path, HERE, THERE), folder="export/"),
        "a.kmz": zipped(tmp_path / "a.kml"),
    }
    for name, content in sent.items():
        found = accepted(backend, name, content)
        assert (found["name"], found["polygons"], found["notes"]) == (name, 2, []), name
        # A UTM rectangle's corners come back as they were, its edges are straight again.
        assert equal(found, both), name


def test_points_and_lines_are_left_out_and_said(backend: Backend, tmp_path: Path) -> None:
    content = written(tmp_path / "mixed.gpkg", HERE, Point(11.3, 47.1), Point(11.4, 47.1))
    found = accepted(backend, "mixed.gpkg", content)
    assert found["polygons"] == 1
    assert found["notes"] == ["2 other features of mixed.gpkg were left out."]
    alone = written(tmp_path / "points.gpkg", Point(11.3, 47.1))
    assert "points.gpkg has no polygon" in refused(backend, "points.gpkg", alone)


def test_overlapping_polygons_are_joined(backend: Backend, tmp_path: Path) -> None:
    other = box(11.1, 47.0, 11.3, 47.1)
    content = written(tmp_path / "two.geojson", HERE, other, crs="EPSG:4326")
    found = accepted(backend, "two.geojson", content)
    assert found["polygons"] == 1
    assert shape(found["geometry"]).area == pytest.approx(HERE.union(other).area)


def test_a_shapefile_without_its_crs_is_told_what_is_missing(
    backend: Backend, tmp_path: Path
) -> None:
    parts = [path for path in shapefile(tmp_path, HERE) if path.suffix != ".prj"]
    assert "Add the .prj file" in refused(backend, "field.zip", zipped(*parts))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "none of the formats"),
        (b"hello", "none of the formats"),
        (b"{not json", "not valid JSON"),
        (b'{"type": "Point", "coordinates": [1, 2]}', "Give a Polygon"),
        (b'{"type": "FeatureCollection", "features": []}', "empty"),
        (b"PK\3\4 and nothing else", "cannot be unpacked"),
        (b"SQLite format 3\0 and nothing else", "cannot be read"),
        (b"<html><kml/></html>", "none of the formats"),
        (b"[" * 100_000, "none of the formats"),
        (b'{"a":' * 100_000, "not valid JSON"),
    ],
)
def test_what_is_no_area_is_refused_in_words(backend: Backend, content: bytes, words: str) -> None:
    detail = refused(backend, "sent.dat", content)
    assert words in detail
    assert "/tmp" not in detail, "no path of the server"


def test_a_bowtie_and_a_place_off_the_globe_are_refused(backend: Backend) -> None:
    tie = Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    assert "not valid" in refused(
        backend, "tie.json", json.dumps(shapely.geometry.mapping(tie)).encode()
    )
    off = json.dumps(shapely.geometry.mapping(box(170, 0, 190, 1))).encode()
    assert "outside +-180" in refused(backend, "off.json", off)


def test_no_file_makes_gdal_read_another_one(backend: Backend, tmp_path: Path) -> None:
    """GDAL's virtual formats name a file or an address to read; here they are only bytes."""
    written(tmp_path / "secret.geojson", HERE, crs="EPSG:4326")
    source = f"<SrcDataSource>{tmp_path / 'secret.geojson'}</SrcDataSource>"
    virtual = (
        f'<OGRVRTDataSource><OGRVRTLayer name="secret">{source}</OGRVRTLayer></OGRVRTDataSource>'
    )
    pipeline = json.dumps(
        {"type": "gdal_vector_pipeline", "command_line": f"read {tmp_path}/secret.geojson"}
    )
    for content in (
        virtual,
        f"<kml><!-- {virtual} --></kml>",
        f'<!DOCTYPE kml [<!ENTITY x SYSTEM "file://{tmp_path}/secret.geojson">]><kml>&x;</kml>',
        "<OGRWFSDataSource><URL>http://127.0.0.1:9/</URL></OGRWFSDataSource>",
        pipeline,
    ):
        refused(backend, "virtual.kml", content.encode())
    inside = tmp_path / "area.shp"
    inside.write_text(virtual)
    assert "is no Shapefile" in refused(backend, "v.zip", zipped(inside))
    inside.rename(tmp_path / "doc.kml")
    assert "is no KML" in refused(backend, "v.kmz", zipped(tmp_path / "doc.kml"))


def test_names_in_an_archive_are_no_paths(backend: Backend, tmp_path: Path) -> None:
    parts = shapefile(tmp_path, HERE)
    found = accepted(backend, "up.zip", zipped(*parts, folder="../../up/"))
    assert equal(found, HERE)
    assert not (tmp_path.parents[1] / "up").exists()
    written(tmp_path / "other.shp", THERE)
    two = zipped(*parts, *tmp_path.glob("other.*"))
    assert "one Shapefile" in refused(backend, "two.zip", two)


def test_a_large_file_is_refused_early(backend: Backend) -> None:
    response = send(backend, "big.json", b"{" + b" " * (33 * 2**20))
    assert response.status_code == 413
    assert response.json()["field"] == "file"
