"""The demo scene: repeatable, georeferenced, true to its truth, and not too easy."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import chi2
from shapely.geometry import shape

from geoanomaly.errors import ParameterError
from geoanomaly.evaluation.evaluate import evaluate
from geoanomaly.synthetic import (
    KINDS,
    ScenePair,
    anomalies,
    generate,
    generate_single,
    layout,
    render,
)

FloatArray = NDArray[np.float64]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> ScenePair:
    return generate(tmp_path_factory.mktemp("pair"), size=256, seed=7)


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def _read(path: Path) -> NDArray[np.uint16]:
    with rasterio.open(path) as file:
        return np.asarray(file.read())


def _standard(values: NDArray[np.uint16]) -> FloatArray:
    """(band, pixel) with mean 0 and deviation 1 per band."""
    flat = values.reshape(values.shape[0], -1).astype(np.float64)
    return (flat - flat.mean(1, keepdims=True)) / flat.std(1, keepdims=True)


def _regression_residual(before: FloatArray, after: FloatArray, rounds: int) -> FloatArray:
    """Mahalanobis energy of the linear prediction's residual, refitted on what did not change."""
    design = np.vstack([before, np.ones(before.shape[1])])
    weight = np.ones(before.shape[1])
    energy = weight
    for _ in range(rounds):
        weighted = design * weight
        fit = np.linalg.solve(weighted @ design.T, weighted @ after.T)
        residual = after - fit.T @ design
        covariance = (residual * weight) @ residual.T / weight.sum()
        energy = (residual * np.linalg.solve(covariance, residual)).sum(0)
        weight = chi2.sf(energy, after.shape[0])
    return energy


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        generate(tmp_path / name, size=128, seed=seed)
    one = _digests(tmp_path / "one")
    assert set(one) == {
        "before.tif",
        "after.tif",
        "truth.tif",
        "truth_classes.tif",
        "truth.geojson",
    }
    assert one == _digests(tmp_path / "two")
    assert not set(one.values()) & set(_digests(tmp_path / "other").values())


def test_scenes_are_georeferenced_reflectance_on_one_grid(pair: ScenePair) -> None:
    with rasterio.open(pair.before) as before, rasterio.open(pair.after) as after:
        for file in (before, after):
            assert file.crs.to_epsg() == 32633
            assert file.res == (10.0, 10.0)
            assert (file.shape, file.dtypes) == ((256, 256), ("uint16",) * 6)
            assert file.descriptions == ("B02", "B03", "B04", "B08", "B11", "B12")
            assert (file.scales, file.nodata) == ((1e-4,) * 6, 0)
            assert file.block_shapes == [(256, 256)] * 6
            assert file.read().min() >= 1
        assert before.transform == after.transform
    with rasterio.open(pair.truth) as truth:
        assert truth.dtypes == ("uint8",)
        assert truth.crs.to_epsg() == 32633


@pytest.mark.parametrize("size", [128, (160, 224), 256, 512])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_kind_is_there_at_every_size(
    tmp_path: Path, size: int | tuple[int, int], seed: int
) -> None:
    found = generate(tmp_path, size=size, seed=seed)
    classes = _read(found.truth_classes)[0]
    assert {anomaly.kind for anomaly in found.anomalies} == set(KINDS)
    for number, kind in enumerate(KINDS, start=1):
        planted = [anomaly for anomaly in found.anomalies if anomaly.kind == kind]
        assert sum(anomaly.pixels for anomaly in planted) == (classes == number).sum()
        for anomaly in planted:
            x0, y0, x1, y1 = anomaly.bbox
            assert (classes[y0:y1, x0:x1] == number).sum() >= anomaly.pixels >= 4
            assert anomaly.area_m2 == anomaly.pixels * 100
    judged = classes[classes != 255]
    assert 0.003 < (judged > 0).mean() < 0.12
    assert judged.size > 0.8 * classes.size


def test_the_two_truths_and_the_polygons_agree(pair: ScenePair) -> None:
    truth, classes = _read(pair.truth)[0], _read(pair.truth_classes)[0]
    assert np.array_equal(truth == 1, (classes > 0) & (classes < 255))
    assert np.array_equal(truth == 255, classes == 255)
    features = json.loads(pair.polygons.read_text())["features"]
    assert {feature["properties"]["kind"] for feature in features} == set(KINDS)
    for feature in features:
        longitude, latitude = shape(feature["geometry"]).centroid.coords[0]
        assert 13 < longitude < 15
        assert 48 < latitude < 50


def test_truth_is_where_the_anomalies_change_the_image() -> None:
    """The scene with anomalies differs from the scene without them there and nowhere else."""
    land = layout.plan(5, (192, 192))
    events = anomalies.plant(land)
    with_them = render.reflectance(land, render.AUGUST, events)
    without = render.reflectance(land, render.AUGUST)
    truth = anomalies.judge(events, render.BLUR[0], np.zeros((192, 192), bool))
    difference = np.abs(with_them - without).max(axis=0)
    assert np.median(difference[truth.classes == 0]) < 1e-6
    assert (difference[truth.classes == 0] < 0.08).all()
    for number in range(1, len(KINDS) + 1):
        assert np.median(difference[truth.classes == number]) > 0.01


def test_cloud_is_not_judged_and_not_nodata(pair: ScenePair) -> None:
    before, truth = _read(pair.before), _read(pair.truth)[0]
    bright = (before[0] > 3500) & (before[4] > 3000)
    assert bright.sum() > 100
    assert (truth[bright] == 255).all()


def test_normal_change_hides_the_anomalies_from_a_plain_difference(pair: ScenePair) -> None:
    before, after = _read(pair.before), _read(pair.after)
    truth = _read(pair.truth)[0]
    raw = np.linalg.norm(after.astype(float) - before.astype(float), axis=0)
    x, y = _standard(before), _standard(after)
    scaled = np.linalg.norm(x - y, axis=0).reshape(truth.shape)
    relation = _regression_residual(x, y, rounds=20).reshape(truth.shape)
    raw_ap, scaled_ap, relation_ap = (
        evaluate(score, truth).average_precision for score in (raw, scaled, relation)
    )
    assert max(raw_ap, scaled_ap) < 0.9
    assert relation_ap < 0.98
    assert evaluate(relation, truth).roc_auc > 0.95


def test_most_of_the_land_changes_normally(pair: ScenePair) -> None:
    before, after = _read(pair.before).astype(float), _read(pair.after).astype(float)
    normal = _read(pair.truth)[0] == 0
    change = np.abs(after - before).max(axis=0)[normal] / 10_000
    assert (change > 0.03).mean() > 0.5


def test_land_has_texture_at_more_than_one_scale(pair: ScenePair) -> None:
    """Neither noise (nothing left after a blur) nor flat colours (nothing lost by it)."""
    infrared = _read(pair.after)[3].astype(float)
    kept = gaussian_filter(infrared, 3).std() / infrared.std()
    assert 0.5 < kept < 0.97


def test_a_single_scene_comes_with_a_normal_one_from_elsewhere(tmp_path: Path) -> None:
    single = generate_single(tmp_path, size=128, seed=2)
    scene, normal = _read(single.scene), _read(single.normal)
    assert scene.shape == normal.shape == (6, 128, 128)
    assert np.corrcoef(scene[3].ravel(), normal[3].ravel())[0, 1] < 0.5
    assert np.abs(np.median(scene, axis=(1, 2)) / np.median(normal, axis=(1, 2)) - 1).max() < 0.6
    assert {anomaly.kind for anomaly in single.anomalies} == set(KINDS)


def test_other_projections_and_resolutions(tmp_path: Path) -> None:
    pair = generate(tmp_path, size=128, crs="EPSG:3035", resolution=20.0)
    with rasterio.open(pair.after) as file:
        assert (file.crs.to_epsg(), file.res) == (3035, (20.0, 20.0))
    assert pair.anomalies[0].area_m2 == pair.anomalies[0].pixels * 400


def test_too_small_is_an_error_that_names_the_limit(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="at least 96"):
        generate(tmp_path / "no", size=64)
    assert not (tmp_path / "no").exists()
