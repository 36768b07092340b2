"""The table of anomalies: what a run published is what its heatmap says; notes stay notes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely

from geoanomaly.jobs import Judgement, Verdict
from geoanomaly.results.anomalies import trace
from geoanomaly.results.outputs import write_vectors
from geoanomaly.results.rasters import above
from geoanomaly.results.regions import hot_pixels, regions
from tests.geoanomaly.test_anomalies import GRIDS
from tests.geoanomaly.test_regions import heatmap, lumps
from tests.rasters import write_raster
from tests.web.hostile import HOSTILE
from web.findings import Findings, geojson, of_regions, published

THRESHOLD = 3.0


def both(folder: Path, grid: str) -> tuple[Findings, Findings]:
    """From the files of a run, and from the heatmap."""
    surprise = lumps(5)
    crs, transform = GRIDS[grid]
    path = heatmap(folder, surprise, grid)
    mask = above(surprise, THRESHOLD)
    write_raster(folder / "mask.tif", mask[None], crs=crs, transform=transform, nodata=255)
    with rasterio.open(path) as raster:
        write_vectors(folder, trace(path, folder / "mask.tif"), raster.crs)
    report = {
        "surprise": {"above": int((mask == 1).sum()), "highest": float(np.nanmax(surprise))},
        "valid": {"pixels": int(np.isfinite(surprise).sum())},
    }
    first = published(path, folder / "anomalies.gpkg", report, draw=True)
    assert first is not None
    hot = hot_pixels(path)
    return first, of_regions(hot, regions(hot, THRESHOLD), THRESHOLD, draw=True)


@pytest.mark.parametrize("grid", list(GRIDS))
def test_what_was_published_is_what_the_heatmap_says(tmp_path: Path, grid: str) -> None:
    files, pixels = both(tmp_path, grid)
    assert len(files.keys) > 30
    assert list(files.keys) == list(pixels.keys)
    for name in ("tops", "bounds", "pixels"):
        assert np.allclose(getattr(files, name), getattr(pixels, name), rtol=1e-9), name
    for name in ("peak", "mean"):
        assert np.allclose(getattr(files, name), getattr(pixels, name), atol=6e-4), name
    assert np.allclose(files.area_m2, pixels.area_m2, rtol=1e-3, atol=0.06, equal_nan=True)
    assert files.drawn is not None
    difference = shapely.symmetric_difference(files.drawn, pixels.drawn)
    assert (shapely.area(difference) < 1e-6 * shapely.area(files.drawn)).all()
    for name in ("above", "valid", "floor"):
        assert getattr(files, name) == getattr(pixels, name), name
    assert files.highest == pytest.approx(pixels.highest)


def test_an_older_run_has_no_such_table(tmp_path: Path) -> None:
    files, _ = both(tmp_path, "utm")
    assert files.keys
    old = published(tmp_path / "heatmap.tif", tmp_path / "anomalies.gpkg", {}, draw=False)
    assert old is None


def test_the_text_is_geojson_whatever_a_note_says(tmp_path: Path) -> None:
    _, found = both(tmp_path, "utm")
    now = datetime.now(UTC)
    judged = {
        key: Judgement(*(int(part) for part in key.split("-")), Verdict.CONFIRMED, note, now)
        for key, note in zip(found.keys, HOSTILE, strict=False)
    }
    told = json.loads(geojson(found, THRESHOLD, judged))
    assert [each["id"] for each in told["features"]] == list(range(1, len(found.keys) + 1))
    for feature, note in zip(told["features"], HOSTILE, strict=False):
        assert feature["properties"]["note"] == note
        assert feature["geometry"]["type"] in ("Polygon", "MultiPolygon")
    bare = of_regions(hot_pixels(tmp_path / "heatmap.tif"), [], THRESHOLD, draw=True)
    assert json.loads(geojson(bare, THRESHOLD, {}))["features"] == []
