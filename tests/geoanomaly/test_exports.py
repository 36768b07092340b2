"""What is taken away opens in other programs, with the values that it should have."""

from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from matplotlib.image import imread
from odc.geo.geobox import GeoBox
from rio_cogeo.cogeo import cog_validate

import geoanomaly
from geoanomaly.errors import NotFoundError, ParameterError
from geoanomaly.jobs import Judgement, Verdict
from geoanomaly.results import portable
from geoanomaly.results.exports import NAMES, VECTORS, known_crs, write
from geoanomaly.results.pictures import Backdrop
from geoanomaly.results.print_map import north, scale_bar
from geoanomaly.results.regions import hot_pixels, regions
from geoanomaly.results.source import Source
from tests.rasters import UTM, texture, write_raster

HOSTILE = "=cmd|' /C calc'!A0 <script>alert(1)</script> ${alert(2)} `"

PICTURES = "data:image/(?:png|webp);base64,"


def result(folder: Path, *, crs: str | None = UTM) -> Source:
    """A heatmap with three squares, of which the second is judged."""
    surprise = np.full((120, 160), 0.4, np.float32)
    surprise[:5] = np.nan
    for number, row in enumerate((20, 60, 100), start=1):
        surprise[row : row + 4 * number, 50 : 50 + 5 * number] = 2.5 + number
    path = write_raster(folder / "heatmap.tif", surprise[None], crs=crs, nodata=np.nan)
    scene = write_raster(folder / "scene.tif", texture(1, 3, 120, 160), crs=crs)
    hot = hot_pixels(path)
    found = regions(hot, 2.0)
    at = datetime(2026, 1, 2, tzinfo=UTC)
    judgement = Judgement(*found[1].top, Verdict.CONFIRMED, HOSTILE, at)
    return Source(
        path, hot, found, {judgement.key: judgement},
        (Backdrop("Scene", scene, (3, 2, 1), ((700.0, 1300.0),) * 3),), 2.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return result(tmp_path_factory.mktemp("result"))


def read_vector(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return geopandas.read_parquet(path)
    return pd.read_csv(path) if path.suffix == ".csv" else geopandas.read_file(path)


@pytest.mark.parametrize("name", VECTORS)
def test_every_vector_format_has_all_anomalies_and_judgements(
    source: Source, tmp_path: Path, name: str
) -> None:
    table = read_vector(write(source, name, tmp_path))
    assert list(table["pixels"].astype(int)) == [180, 80, 20]
    assert list(table["peak"].astype(float)) == [5.5, 4.5, 3.5]
    assert list(table["verdict"].fillna("")) == ["", "confirmed", ""]
    expected = f"'{HOSTILE}" if name.endswith(".csv") else HOSTILE
    assert table["note"][1] == expected
    assert table["judged"][1].startswith("2026-01-02")
    if name.endswith((".gpkg", ".parquet")):
        assert table.crs == UTM
        assert table.geometry.area.tolist() == pytest.approx([18_000, 8_000, 2_000])
    elif name.endswith((".kml", ".geojson")):
        assert table.crs == "EPSG:4326"
        box = source.hot.transform
        lon, lat = table.to_crs(UTM).geometry[0].centroid.coords[0]
        assert (lon, lat) == pytest.approx((box.c + 57.5 * 10, box.f - 106 * 10), abs=0.5)


def test_rasters_are_cogs_with_the_same_values(source: Source, tmp_path: Path) -> None:
    for name in ("heatmap.tif", "mask.tif"):
        assert cog_validate(write(source, name, tmp_path), quiet=True)[0]
    with rasterio.open(source.heatmap) as raster:
        surprise = raster.read(1)
    with rasterio.open(tmp_path / "heatmap.tif") as raster:
        assert np.array_equal(raster.read(1), surprise, equal_nan=True)
    with rasterio.open(tmp_path / "mask.tif") as raster:
        assert np.array_equal(raster.read(1) == 1, surprise >= 2)
        assert np.array_equal(raster.read(1) == 255, np.isnan(surprise))


def test_another_crs_and_another_threshold(source: Source, tmp_path: Path) -> None:
    other = replace(source, crs=known_crs("EPSG:3857"), threshold=4.0)
    with rasterio.open(write(other, "mask.tif", tmp_path)) as raster:
        assert raster.crs == "EPSG:3857"
        above = (raster.read(1) == 1).sum() * abs(raster.transform.determinant)
    # Web Mercator draws areas larger by the square of the secant of the latitude.
    assert above == pytest.approx((180 + 80) * 100 / np.cos(np.radians(48.75)) ** 2, rel=0.03)
    with rasterio.open(write(other, "heatmap.tif", tmp_path)) as raster:
        values = np.unique(raster.read(1)[np.isfinite(raster.read(1))])
    assert values.tolist() == pytest.approx([0.4, 3.5, 4.5, 5.5])
    assert geopandas.read_file(write(other, "anomalies.gpkg", tmp_path)).crs == "EPSG:3857"


@pytest.mark.parametrize(
    "text", ["EPSG:1", "nonsense", "+proj=longlat +nadgrids=/etc/x", "EPSG:5703"]
)
def test_what_is_no_crs_is_refused(text: str) -> None:
    with pytest.raises(ParameterError) as refused:
        known_crs(text)
    assert refused.value.field == "crs"


def test_the_print_is_a_page_at_300_dpi(source: Source, tmp_path: Path) -> None:
    picture = imread(write(source, "map.png", tmp_path))
    assert sorted(picture.shape[:2]) == [2481, 3507]
    hot = np.abs(picture[..., :3] * 255 - (189, 0, 38)).max(axis=-1) < 30
    # The two squares of surprise 4.5 and 5.5, and the swatch of the legend.
    assert 0.005 < hot.mean() < 0.1


@pytest.mark.parametrize(
    ("across", "length"), [(1000, 200), (260, 50), (52_000, 10_000), (9.9, 1), (4_999, 500)]
)
def test_a_scale_bar_has_a_round_length(across: float, length: float) -> None:
    assert scale_bar(across) == length


@pytest.mark.parametrize(
    ("crs", "where", "expected"),
    [
        ("EPSG:4326", Affine(0.001, 0, 14, 0, -0.001, 60), 0),
        ("EPSG:3857", Affine(10, 0, 1_600_000, 0, -10, 8_400_000), 0),
        ("EPSG:4326", Affine(0, 0.001, 14, 0.001, 0, -33), 90),
        ("EPSG:4326", Affine(0.001, 0, 14, 0, 0.001, -33), 180),
        # At the edge of a zone, in the north: the convergence of its meridians.
        ("EPSG:32633", Affine(10, 0, 700_000, 0, -10, 7_000_000), -3.5),
    ],
)
def test_the_arrow_shows_north(crs: str, where: Affine, expected: float) -> None:
    assert north(GeoBox((100, 100), where, crs)) == pytest.approx(expected, abs=0.2)


def test_the_map_fetches_nothing_and_has_no_words_of_users(source: Source, tmp_path: Path) -> None:
    html = write(source, "map.html", tmp_path).read_text()
    assert "alert(" not in html
    assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=['\"]?http", html)
    assert len(re.findall(PICTURES, html)) == 3
    assert "L.map(" in html
    assert '"peak": 5.5' in html


def test_everything_is_in_the_archive(source: Source, tmp_path: Path) -> None:
    style = tmp_path / "heatmap.qml"
    style.write_text("<qgis/>")
    path = write(replace(source, companions=(style,)), "everything.zip", tmp_path)
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        assert names == {*NAMES, "heatmap.qml"} - {"everything.zip"}
        assert archive.testzip() is None
        table = geopandas.read_parquet(io.BytesIO(archive.read("anomalies.parquet")))
        assert len(table) == 3


def test_a_pixel_grid_is_exported_without_a_place(tmp_path: Path) -> None:
    plain = result(tmp_path, crs=None)
    out = tmp_path / "out"
    out.mkdir()
    table = geopandas.read_file(write(plain, "anomalies.gpkg", out))
    assert table.crs is None
    assert table["x"][0] == 50.5
    with pytest.raises(ParameterError, match="no CRS"):
        write(replace(plain, crs="EPSG:4326"), "mask.tif", out)
    assert "L.CRS.Simple" in write(plain, "map.html", out).read_text()
    with zipfile.ZipFile(write(plain, "everything.zip", out)) as archive:
        assert "anomalies.kml" not in archive.namelist()


def test_nothing_found_is_exported_too(source: Source, tmp_path: Path) -> None:
    for name in (*VECTORS, "map.png", "map.html"):
        assert write(replace(source, regions=()), name, tmp_path).stat().st_size


# The same map from Python.


def test_a_heatmap_shows_itself_in_a_notebook(source: Source, tmp_path: Path) -> None:
    folder = source.heatmap.parent
    write(source, "anomalies.gpkg", folder)
    write(source, "anomalies.geojson", folder)
    scene = source.backdrops[0].path
    spec = {"process": "detect-anomaly", "scenes": [{"href": str(scene)}]}
    (folder / "run.json").write_text(json.dumps({"spec": spec}))
    heatmap = geoanomaly.Heatmap(folder)
    assert np.nanmax(heatmap.values) == 5.5
    assert list(heatmap.anomalies["pixels"]) == [180, 80, 20]
    shown = heatmap._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert 'sandbox="allow-scripts' in shown
    assert shown.count('"') == 6
    assert len(re.findall(PICTURES, heatmap.to_html())) == 3
    with pytest.raises(NotFoundError, match=re.escape("no heatmap.tif")):
        geoanomaly.Heatmap(tmp_path)


def test_without_the_service_leaflet_comes_from_the_internet(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portable.importlib.util, "find_spec", lambda _: None)
    html = portable.portable_map(source.heatmap, (), (), threshold=2)
    assert "https://cdn.jsdelivr.net/npm/leaflet@1.9.3/dist/leaflet.js" in html
