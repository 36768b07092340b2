"""Anomalies at any threshold: against the ones that a run publishes, and against SciPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.ndimage import label

from geoanomaly.results import regions as module
from geoanomaly.results.anomalies import MIN_PIXELS, trace
from geoanomaly.results.places import Places
from geoanomaly.results.regions import hot_pixels, outlines, regions
from tests.geoanomaly.test_anomalies import GRIDS
from tests.rasters import write_raster


def heatmap(folder: Path, surprise: NDArray[np.float32], grid: str = "utm") -> Path:
    crs, transform = GRIDS[grid]
    path = folder / "heatmap.tif"
    return write_raster(path, surprise[None], crs=crs, transform=transform, nodata=np.nan)


def lumps(seed: int, size: int = 160) -> NDArray[np.float32]:
    """Surprise with a few hundred groups, all of different sums, and some missing pixels."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    values = gaussian_filter(rng.normal(size=(size, size)), 1.5)
    values = (2 + 2 * values / values.std()).clip(0).astype(np.float32)
    values[:10, 30:50] = np.nan
    return values


@pytest.mark.parametrize("grid", list(GRIDS))
def test_at_the_threshold_of_a_run_they_are_what_it_published(tmp_path: Path, grid: str) -> None:
    surprise, threshold = lumps(1), 3.0
    crs, transform = GRIDS[grid]
    mask = np.where(np.isfinite(surprise), surprise >= threshold, 255).astype(np.uint8)
    path = heatmap(tmp_path, surprise, grid)
    write_raster(tmp_path / "mask.tif", mask[None], crs=crs, transform=transform, nodata=255)
    published = trace(path, tmp_path / "mask.tif")
    assert len(published) > 30

    hot = hot_pixels(path)
    found = regions(hot, threshold)
    shapes = outlines(found, hot.transform)
    places = Places(hot.crs)
    assert [each.pixels for each in found] == [each.pixels for each in published]
    assert np.allclose([each.peak for each in found], [each.peak for each in published])
    assert np.allclose([each.mean for each in found], [each.mean for each in published])
    for mine, theirs in zip(shapes, published, strict=True):
        # Rings begin elsewhere, and offsets round in the last digit.
        assert mine.symmetric_difference(theirs.geometry).area < 1e-6 * mine.area
    areas = places.areas(places.geometries(shapes))
    if crs is None:
        assert np.isnan(areas).all()
    else:
        assert np.allclose(areas, [each.area_m2 for each in published], rtol=1e-3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(above=arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_they_are_connected_as_scipy_connects(tmp_path: Path, above: NDArray[np.bool_]) -> None:
    hot = hot_pixels(heatmap(tmp_path, np.where(above, 2.0, 0.5).astype(np.float32)))
    labels, count = label(above, np.ones((3, 3)))
    sizes = np.bincount(labels[above], minlength=count + 1)[1:]
    found = regions(hot, 2.0)
    assert sorted(each.pixels for each in found) == sorted(s for s in sizes if s >= MIN_PIXELS)
    for each in found:
        assert len(set(labels[each.rows, each.cols])) == 1


def test_the_key_outlives_the_threshold(tmp_path: Path) -> None:
    hot = hot_pixels(heatmap(tmp_path, lumps(2)))
    high, low = (regions(hot, threshold) for threshold in (4.0, 2.5))
    assert {each.key for each in high if each.peak > 5} <= {
        f"{row}-{col}" for each in low for row, col in zip(each.rows, each.cols, strict=True)
    }
    top = high[0]
    assert lumps(2)[top.top] == np.float32(top.peak)
    same = next(each for each in low if each.key == top.key)
    assert same.pixels > top.pixels


def test_a_place_on_the_map_is_found_again_on_the_grid(tmp_path: Path) -> None:
    for grid in GRIDS:
        hot = hot_pixels(heatmap(tmp_path, lumps(3), grid))
        places = Places(hot.crs)
        for region in regions(hot, 3.5)[:5]:
            centre = module.centre(region, hot.transform)
            ((x, y),) = places.points(np.array([centre]))
            assert places.pixel(x, y, hot.transform) == region.top, grid


def test_too_many_pixels_raise_the_floor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    surprise = lumps(4)
    monkeypatch.setattr(module, "MAX_HOT", 3000)
    hot = hot_pixels(heatmap(tmp_path, surprise))
    assert hot.floor > module.FLOOR
    assert len(hot.place) == (surprise >= hot.floor).sum() <= 3000
    assert hot.valid == np.isfinite(surprise).sum()


def test_an_ordinary_heatmap_has_none(tmp_path: Path) -> None:
    hot = hot_pixels(heatmap(tmp_path, np.full((20, 20), 0.3, np.float32)))
    assert regions(hot, 1.0) == []
    assert hot.highest == hot.floor
