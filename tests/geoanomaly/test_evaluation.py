"""Evaluation against scikit-learn, hand-computed cases, and files of every kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine
from shapely.geometry import box
from sklearn import metrics

from geoanomaly.curves import draw_curves
from geoanomaly.errors import SceneError
from geoanomaly.evaluation import evaluate, evaluate_files


def _grid(west: float = 500_000, pixel: float = 10) -> Affine:
    return Affine(pixel, 0, west, 0, -pixel, 5_000_000)


GRID = _grid()


def _random(seed: int, *, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.choice([0, 1, 255], size=(40, 50), p=[0.7, 0.1, 0.2]).astype(np.uint8)
    score = (rng.normal(size=label.shape) + 1.2 * (label == 1)).astype(np.float32)
    return (np.round(score * 2) / 2 if ties else score), label


def _write(
    path: Path,
    values: np.ndarray,
    transform: Affine = GRID,
    crs: str | None = "EPSG:32633",
    nodata: float | None = None,
    **tags: str,
) -> Path:
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "height": values.shape[0],
        "width": values.shape[1],
        "count": 1,
        "dtype": values.dtype,
        "crs": crs,
        "transform": transform,
        "nodata": nodata,
    }
    with rasterio.open(path, "w", **profile) as file:
        file.write(values, 1)
        file.update_tags(**tags)
    return path


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_equals_scikit_learn(seed: int, ties: bool) -> None:
    score, label = _random(seed, ties=ties)
    known = label != 255
    truth, values = label[known], score[known]
    found = evaluate(score, label, threshold=1.0)
    called = values >= 1.0
    assert found.average_precision == pytest.approx(metrics.average_precision_score(truth, values))
    assert found.roc_auc == pytest.approx(metrics.roc_auc_score(truth, values))
    assert found.shipped is not None
    shipped = found.shipped
    assert (shipped.tn, shipped.fp, shipped.fn, shipped.tp) == tuple(
        metrics.confusion_matrix(truth, called).ravel()
    )
    assert shipped.precision == pytest.approx(metrics.precision_score(truth, called))
    assert shipped.recall == pytest.approx(metrics.recall_score(truth, called))
    assert shipped.f1 == pytest.approx(metrics.f1_score(truth, called))
    precision, recall, _ = metrics.precision_recall_curve(truth, values)
    best = (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()
    assert found.oracle_best_f1.f1 == pytest.approx(best)
    rates, hits, _ = metrics.roc_curve(truth, values, drop_intermediate=False)
    assert found.recall_at_5pct_false_alarms == pytest.approx(hits[rates <= 0.05].max())
    assert found.recall_at_1pct_false_alarms == pytest.approx(hits[rates <= 0.01].max())


def test_a_small_case_by_hand() -> None:
    score = np.array([[4.0, 3.0, 2.0, 1.0, np.nan, 9.0]], np.float32)
    label = np.array([[1, 0, 1, 0, 1, 255]], np.uint8)
    found = evaluate(score, label, threshold=2.0)
    assert (found.n_labelled, found.n_no_score, found.prevalence) == (4, 1, 0.5)
    assert found.average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert found.roc_auc == pytest.approx(0.75)
    assert found.recall_at_1pct_false_alarms == 0.5
    shipped = found.shipped
    assert shipped is not None
    assert (shipped.tn, shipped.fp, shipped.fn, shipped.tp) == (1, 1, 0, 2)
    assert shipped.false_alarm_rate == 0.5
    assert found.oracle_best_f1.threshold == 2.0


def test_a_threshold_above_every_score_calls_nothing() -> None:
    found = evaluate(np.array([[1.0, 0.0]], np.float32), np.array([[1, 0]]), threshold=5.0)
    assert found.shipped is not None
    assert (found.shipped.tp, found.shipped.fp, found.shipped.precision) == (0, 0, 0.0)


def test_a_threshold_keeps_the_pixels_that_equal_it_in_single_precision() -> None:
    score = np.array([[0.1, 0.0]], np.float32)
    found = evaluate(score, np.array([[1, 0]]), threshold=0.1)
    assert found.shipped is not None
    assert found.shipped.tp == 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_a_monotone_transform_changes_no_ranking_measure(
    seed: int, scale: float, shift: float
) -> None:
    score, label = _random(seed, ties=True)
    first = evaluate(score, label)
    for other in (score.astype(np.float64) * scale + shift, np.arctan(score.astype(np.float64))):
        second = evaluate(other, label)
        assert second.average_precision == pytest.approx(first.average_precision)
        assert second.roc_auc == pytest.approx(first.roc_auc)
        assert second.oracle_best_f1.tp == first.oracle_best_f1.tp


def test_pixels_without_score_are_left_out_and_counted() -> None:
    score, label = _random(1)
    score[:10] = np.nan
    found = evaluate(score, label)
    assert found.n_no_score == int((label[:10] != 255).sum())
    assert found.average_precision == evaluate(score[10:], label[10:]).average_precision


@pytest.mark.parametrize(("value", "counts"), [(0, "0 anomalous"), (1, "0 normal")])
def test_one_kind_of_label_is_an_error_with_counts(value: int, counts: str) -> None:
    with pytest.raises(SceneError, match=counts) as caught:
        evaluate(np.ones((3, 3), np.float32), np.full((3, 3), value, np.uint8))
    assert caught.value.field == "label"


def test_other_shapes_are_an_error() -> None:
    with pytest.raises(SceneError, match="shape"):
        evaluate(np.ones((3, 3), np.float32), np.zeros((4, 3), np.uint8))


def test_json_and_table_tell_the_same() -> None:
    score, label = _random(2)
    found = evaluate(score, label, threshold=1.0, notes=("resampled",))
    record = json.loads(found.to_json())
    assert record["average_precision"] == found.average_precision
    assert record["shipped"]["tp"] + record["shipped"]["fn"] == int((label == 1).sum())
    assert "curves" not in record
    lines = found.as_table().splitlines()
    assert lines[0].startswith("average precision")
    assert lines[1].startswith("prevalence")
    assert any("oracle" in line for line in lines)
    assert lines[-1] == "note: resampled"
    assert max(map(len, lines)) <= 120


def test_files_on_one_grid_give_what_arrays_give(tmp_path: Path) -> None:
    score, label = _random(3)
    heatmap = _write(tmp_path / "heatmap.tif", score, GEOANOMALY_THRESHOLD="1.25")
    found = evaluate_files(heatmap, _write(tmp_path / "label.tif", label))
    assert found == evaluate(score, label, threshold=1.25, notes=found.notes)
    assert "GEOANOMALY_THRESHOLD" in found.notes[0]


def test_threshold_comes_from_the_run_record_or_is_two(tmp_path: Path) -> None:
    score, label = _random(3)
    heatmap, truth = _write(tmp_path / "h.tif", score), _write(tmp_path / "l.tif", label)
    assert evaluate_files(heatmap, truth).shipped.threshold == 2.0  # type: ignore[union-attr]
    record = {"parameters": {"false_alarm_rate": 0.001}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert evaluate_files(heatmap, truth).shipped.threshold == 3.0  # type: ignore[union-attr]
    given_one = evaluate_files(heatmap, truth, threshold=0.5)
    assert given_one.shipped is not None
    assert given_one.shipped.threshold == 0.5
    assert given_one.notes == ()


def test_a_label_on_a_finer_grid_is_resampled_and_reported(tmp_path: Path) -> None:
    score, label = _random(4)
    fine = np.kron(label, np.ones((2, 2), np.uint8))
    path = _write(tmp_path / "fine.tif", fine, _grid(pixel=5))
    found = evaluate_files(_write(tmp_path / "h.tif", score), path)
    assert found.average_precision == evaluate(score, label).average_precision
    assert any("resampled" in note for note in found.notes)


def test_the_label_s_nodata_is_unlabelled(tmp_path: Path) -> None:
    score, label = _random(4)
    marked = np.where(label == 255, 7, label).astype(np.uint8)
    path = _write(tmp_path / "l.tif", marked, nodata=7)
    assert evaluate_files(_write(tmp_path / "h.tif", score), path).n_labelled == int(
        (label != 255).sum()
    )


def test_a_label_elsewhere_is_an_error_that_names_it(tmp_path: Path) -> None:
    score, label = _random(4)
    path = _write(tmp_path / "far.tif", label, _grid(west=510_000))
    with pytest.raises(SceneError, match="overlap") as caught:
        evaluate_files(_write(tmp_path / "h.tif", score), path)
    assert caught.value.field == "label"


@pytest.mark.parametrize("suffix", ["gpkg", "geojson"])
def test_polygons_are_anomalous_and_the_rest_normal(tmp_path: Path, suffix: str) -> None:
    score = np.random.default_rng(5).normal(size=(40, 50)).astype(np.float32)
    label = np.zeros(score.shape, np.uint8)
    label[10:20, 5:25] = 1
    west, south, east, north = 500_050, 4_999_800, 500_250, 4_999_900
    frame = geopandas.GeoDataFrame(geometry=[box(west, south, east, north)], crs="EPSG:32633")
    path = tmp_path / f"label.{suffix}"
    (frame if suffix == "gpkg" else frame.to_crs(4326)).to_file(path)
    found = evaluate_files(_write(tmp_path / "h.tif", score, nodata=np.nan), path)
    assert found.n_labelled == score.size
    assert found.prevalence == label.mean()
    assert found.average_precision == evaluate(score, label).average_precision


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_rasters_without_crs_are_compared_pixel_by_pixel(tmp_path: Path) -> None:
    score, label = _random(6)
    bare = Affine.identity()
    heatmap = _write(tmp_path / "h.tif", score, bare, None)
    path = _write(tmp_path / "l.tif", label, bare, None)
    assert evaluate_files(heatmap, path).n_labelled == int((label != 255).sum())
    small = _write(tmp_path / "s.tif", label[:5], bare, None)
    with pytest.raises(SceneError, match="shapes differ"):
        evaluate_files(heatmap, small)


@pytest.mark.parametrize("missing", ["heatmap", "label"])
def test_a_missing_file_names_its_field(tmp_path: Path, missing: str) -> None:
    score, label = _random(7)
    paths = {
        "heatmap": _write(tmp_path / "h.tif", score),
        "label": _write(tmp_path / "l.tif", label),
    }
    paths[missing] = tmp_path / "no.tif"
    with pytest.raises(SceneError, match=r"no\.tif") as caught:
        evaluate_files(**paths)
    assert caught.value.field == missing


def test_the_picture_of_the_curves_is_a_png_and_repeatable(tmp_path: Path) -> None:
    score, label = _random(8)
    found = evaluate(score, label, threshold=1.0)
    one = draw_curves(found, tmp_path / "one.png").read_bytes()
    assert one.startswith(b"\x89PNG")
    assert draw_curves(found, tmp_path / "two.png").read_bytes() == one
    both = {"a": found, "b": evaluate(-score, label)}
    assert draw_curves(both, tmp_path / "both.png").read_bytes() != one
