"""Why a place stands out: planted moves are named, with their size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import box

from geoanomaly.results.indices import indices
from geoanomaly.results.reasons import read_place, readable, sentence, to_json, usual
from geoanomaly.scenes.inputs import Inputs, open_inputs
from geoanomaly.types import AOI, JobSpec, Process, Scene
from tests.rasters import NORTH_UP, UTM, texture, write_raster

BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")
PLACE = np.mgrid[100:110, 60:70].reshape(2, -1)


def pair(folder: Path, change: dict[str, float], **options: Any) -> Inputs:
    """Two dates of the same ground; at `PLACE` bands of the second have other reflectances."""
    before = texture(1, 6, 200, 200)
    after = before + np.random.default_rng(2).normal(size=before.shape) * 20
    for band, value in change.items():
        after[BANDS.index(band), 100:110, 60:70] = value * 10_000
    paths = [
        write_raster(folder / name, data.astype("uint16"), names=BANDS, **options)
        for name, data in (("before.tif", before), ("after.tif", after))
    ]
    scenes = tuple(Scene(str(path)) for path in paths)
    return open_inputs(JobSpec(Process.DETECT_CHANGE, scenes))


def test_the_band_that_moved_is_named(tmp_path: Path) -> None:
    inputs = pair(tmp_path, {"B11": 0.3})
    normal = usual(inputs)
    reading = read_place(inputs, normal, *PLACE)
    first = reading.moves[0]
    assert first.name == "B11"
    assert first.after == pytest.approx(0.3, abs=1e-4)
    assert first.before == pytest.approx(0.1, abs=0.03)
    assert first.deviation > 50
    assert sentence(reading.moves).startswith("B11 rose from 0.0")
    told = to_json(reading, normal)
    assert told["spectra"]["after"][BANDS.index("B11")] == pytest.approx(0.3, abs=1e-4)
    low, high = (np.array(told["usual"][side]) for side in ("low", "high"))
    assert (low < high).all()


def test_deviations_are_in_robust_spreads(tmp_path: Path) -> None:
    inputs = pair(tmp_path, {})
    # The noise between the dates has a standard deviation of 0.002, cut to whole numbers.
    normal = usual(inputs)
    assert normal.spread[:6] == pytest.approx(np.full(6, 0.002), rel=0.1)
    assert "No single band" in sentence(read_place(inputs, normal, *PLACE).moves)


def test_lost_vegetation_is_told_by_its_index(tmp_path: Path) -> None:
    inputs = pair(tmp_path, {"B08": 0.05, "B04": 0.2})
    words = sentence(read_place(inputs, usual(inputs), *PLACE).moves)
    assert "NDVI (vegetation) fell" in words


def test_one_scene_is_measured_against_itself(tmp_path: Path) -> None:
    opened = pair(tmp_path, {"B12": 0.4})
    spec = JobSpec(Process.DETECT_ANOMALY, (opened.scenes[1].scene,))
    inputs = open_inputs(spec)
    reading = read_place(inputs, usual(inputs), *PLACE)
    assert reading.moves[0].name == "B12"
    assert reading.moves[0].before is None
    assert "above the usual" in sentence(reading.moves)


def test_dates_with_other_bands_are_not_subtracted(tmp_path: Path) -> None:
    before = write_raster(tmp_path / "b.tif", texture(1, 3, 64, 64))
    after = write_raster(tmp_path / "a.tif", texture(2, 5, 64, 64))
    spec = JobSpec(Process.DETECT_CHANGE, (Scene(str(before)), Scene(str(after))))
    inputs = readable(open_inputs(spec))
    assert len(inputs.scenes) == 1
    reading = read_place(inputs, usual(inputs), np.array([5]), np.array([6]))
    assert reading.spectra.shape == (1, 5)
    assert reading.spectra[0] == pytest.approx(texture(2, 5, 64, 64)[:, 5, 6])


def test_missing_pixels_count_for_nothing(tmp_path: Path) -> None:
    inputs = pair(tmp_path, {"B11": 0.3, "B12": 0.0}, nodata=0)
    told = to_json(read_place(inputs, usual(inputs), *PLACE), usual(inputs))
    assert told["spectra"]["after"][BANDS.index("B12")] is None
    assert "B12" not in [move["name"] for move in told["moves"]]


def test_indices_of_the_bands_that_there_are() -> None:
    data = np.array([0.1, 0.3, 0.2, 0.6])[:, None]
    found, values = indices(data, ("blue", "green", "red", "nir"))
    assert [index.name for index in found] == ["NDVI", "NDWI"]
    assert values[:, 0] == pytest.approx([0.5, -1 / 3])
    assert indices(data, ("a", "b", "c", "d"))[1].shape == (0, 1)


def test_places_are_counted_from_the_corner_of_the_area(tmp_path: Path) -> None:
    whole = pair(tmp_path, {"B11": 0.3})
    # 20 pixels from the left and 50 from the top of the scene.
    corner = NORTH_UP @ (20, 50)
    area = AOI(box(corner[0], corner[1] - 1_200, corner[0] + 1_500, corner[1]), UTM)
    spec = JobSpec(Process.DETECT_CHANGE, tuple(info.scene for info in whole.scenes), aoi=area)
    clipped = open_inputs(spec)
    assert tuple(clipped.geobox.shape) == (120, 150)
    rows, cols = PLACE
    there = read_place(clipped, usual(clipped), rows - 50, cols - 20)
    assert there.spectra == pytest.approx(read_place(whole, usual(whole), rows, cols).spectra)
