"""Polygons of a heatmap: against SciPy's labels and pyproj's areas, on every kind of grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pyproj import Geod, Transformer
from rasterio.features import geometry_mask
from rasterio.transform import Affine
from scipy.ndimage import label
from shapely import unary_union
from shapely.geometry import box

from geoanomaly.results.anomalies import MAX_ANOMALIES, MIN_PIXELS, trace
from geoanomaly.types import Anomaly
from tests.rasters import NORTH_UP, UTM, write_raster

GRIDS: dict[str, tuple[str | None, Affine]] = {
    "utm": (UTM, NORTH_UP),
    "utm-south-up": (UTM, Affine(10, 0, 500_000, 0, 10, 5_400_000)),
    "degrees": ("EPSG:4326", Affine(1 / 7919, 0, 14.123, 0, -1 / 7919, 60.3)),
    "degrees-south-up": ("EPSG:4326", Affine(1 / 7919, 0, -71.9, 0, 1 / 7919, -33.3)),
    "web-mercator": ("EPSG:3857", Affine(19.1, 0, 1.6e6, 0, -19.1, 8.4e6)),
    "drone": (UTM, Affine(0.0337, 0, 500_000.017, 0, -0.0337, 5_400_000.013)),
    "pixels": (None, Affine.identity()),
}
EIGHT = np.ones((3, 3))


def traced(
    folder: Path, above: NDArray[np.bool_], surprise: NDArray[np.float64], grid: str = "utm"
) -> list[Anomaly]:
    crs, transform = GRIDS[grid]
    mask = np.where(np.isfinite(surprise), above, 255).astype(np.uint8)
    paths = [
        write_raster(folder / name, data[None], crs=crs, transform=transform, nodata=nodata)
        for name, data, nodata in (
            ("heatmap.tif", surprise.astype(np.float32), np.nan),
            ("mask.tif", mask, 255),
        )
    ]
    return trace(paths[0], paths[1])


def groups(above: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Masks of the groups that are large enough, by SciPy."""
    labels, count = label(above, EIGHT)
    found = [labels == number for number in range(1, count + 1)]
    return [group for group in found if group.sum() >= MIN_PIXELS]


def geodesic(group: NDArray[np.bool_], crs: str, transform: Affine) -> float:
    """Of the union of its pixels, with points at its corners alone.

    With one at each pixel it would be another area: a long edge is a geodesic and bulges.
    """
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    globe = Geod(ellps="WGS84")

    def area(ring: Any) -> float:
        x, y = np.transpose([transform @ corner for corner in ring.coords])
        return abs(float(globe.polygon_area_perimeter(*to_degrees.transform(x, y))[0]))

    pixels = [box(col, row, col + 1, row + 1) for row, col in np.argwhere(group)]
    whole = unary_union(pixels).normalize().simplify(0)
    parts = getattr(whole, "geoms", [whole])
    return sum(area(part.exterior) - sum(map(area, part.interiors)) for part in parts)


def covers(anomaly: Anomaly, shape: tuple[int, ...], transform: Affine) -> NDArray[np.bool_]:
    return np.asarray(geometry_mask([anomaly.geometry], shape, transform, invert=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples: each writes over the last."""
    return tmp_path_factory.mktemp("anomalies")


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    above=arrays(bool, st.tuples(st.integers(2, 14), st.integers(2, 14))),
    missing=st.integers(0, 100),
    grid=st.sampled_from(sorted(GRIDS)),
    strip=st.sampled_from([1, 2, 3, 5, 512]),
)
# Long and thin: its edges bulge by 1e-5 of it.
@example(above=np.ones((2, 11), dtype=bool), missing=4, grid="web-mercator", strip=1)
def test_polygons_are_scipys_groups(
    folder: Path, above: NDArray[np.bool_], missing: int, grid: str, strip: int
) -> None:
    crs, transform = GRIDS[grid]
    surprise = np.random.default_rng(above.size).uniform(2, 9, above.shape)
    surprise.flat[missing % above.size] = np.nan
    above = above & np.isfinite(surprise)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geoanomaly.results.groups.STRIP", strip)
        patch.setattr("geoanomaly.results.anomalies.STRIP", strip)
        found = traced(folder, above, surprise, grid)
    wanted = groups(above)
    assert len(found) == len(wanted)
    for anomaly in found:
        mask = covers(anomaly, above.shape, transform)
        assert any(np.array_equal(mask, group) for group in wanted)
        assert anomaly.geometry.is_valid
        assert anomaly.pixels == mask.sum()
        assert anomaly.peak == pytest.approx(surprise[mask].max(), rel=1e-6)
        assert anomaly.mean == pytest.approx(surprise[mask].mean(), rel=1e-6)
        if crs is None:
            assert anomaly.area_m2 is None
            assert anomaly.geometry.area == mask.sum()
        else:
            # Areas on an ellipsoid are sums of large numbers: good to a tenth of a square cm.
            wanted_area = geodesic(mask, crs, transform)
            assert anomaly.area_m2 == pytest.approx(wanted_area, rel=1e-5, abs=1e-5)


def test_groups_are_ranked_by_their_evidence(tmp_path: Path) -> None:
    surprise = np.zeros((30, 30))
    surprise[2:4, 2:4] = 9  # 36: high and small
    surprise[10:20, 10:20] = 3  # 300: low and large
    surprise[25:28, 2:6] = 4  # 48
    found = traced(tmp_path, surprise >= 2, surprise)
    assert [each.id for each in found] == [1, 2, 3]
    assert [each.pixels for each in found] == [100, 12, 4]
    left, top = NORTH_UP @ (10, 10)
    right, bottom = NORTH_UP @ (20, 20)
    assert found[0].geometry.bounds == (left, bottom, right, top)


def test_groups_of_three_pixels_are_noise(tmp_path: Path) -> None:
    above = np.zeros((10, 10), bool)
    above[1, 1:4] = True
    above[5, 1:5] = True
    found = traced(tmp_path, above, np.full(above.shape, 3.0))
    assert [each.pixels for each in found] == [4]


def test_a_hole_is_no_area(tmp_path: Path) -> None:
    above = np.zeros((20, 20), bool)
    above[2:12, 2:12] = True
    above[4:10, 4:10] = False
    above[6:8, 6:8] = True  # an island in the hole
    ring, island = traced(tmp_path, above, np.full(above.shape, 3.0))
    assert (ring.pixels, island.pixels) == (64, 4)
    assert ring.area_m2 == pytest.approx(6400, rel=2e-3)
    assert ring.geometry.area == 6400


def test_pixels_that_meet_at_corners_are_one_valid_geometry(tmp_path: Path) -> None:
    above = np.eye(12, dtype=bool)
    (found,) = traced(tmp_path, above, np.full(above.shape, 3.0))
    assert found.pixels == 12
    assert found.geometry.is_valid
    assert found.area_m2 == pytest.approx(1200, rel=2e-3)


def test_nothing_above_is_no_anomaly(tmp_path: Path) -> None:
    assert traced(tmp_path, np.zeros((9, 9), bool), np.full((9, 9), 1.0)) == []
    assert traced(tmp_path, np.zeros((9, 9), bool), np.full((9, 9), np.nan)) == []


def test_too_many_anomalies_leave_the_strongest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_ANOMALIES >= 1000
    monkeypatch.setattr("geoanomaly.results.anomalies.MAX_ANOMALIES", 2)
    surprise = np.zeros((4, 40))
    for number in range(8):
        surprise[1:3, 5 * number : 5 * number + 2] = 2 + number
    found = traced(tmp_path, surprise >= 2, surprise)
    assert [each.peak for each in found] == [9, 8]
