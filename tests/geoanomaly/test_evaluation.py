"""Evaluation against scikit-learn, hand-computed cases, and files of every kind."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine
from scipy import ndimage
from shapely.geometry import box
from sklearn import metrics

from geoanomaly.cli import main
from geoanomaly.errors import ParameterError, SceneError
from geoanomaly.evaluation.bootstrap import CONFIDENCE, MAX_BLOCKS, RESAMPLES, default_block
from geoanomaly.evaluation.comparison import compare_files, short_names
from geoanomaly.evaluation.curves import draw_curves
from geoanomaly.evaluation.evaluate import Evaluation, evaluate, evaluate_files
from geoanomaly.evaluation.objects import MIN_OBJECT, Objects, match_objects
from geoanomaly.results.anomalies import MIN_PIXELS


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
    assert "resampled" not in record
    assert found.objects is not None
    assert record["objects"]["any_overlap"]["found"] == found.objects.any_overlap.found
    assert found.intervals is not None
    span = found.intervals.average_precision
    assert record["intervals"]["average_precision"] == {"low": span.low, "high": span.high}
    lines = found.as_table().splitlines()
    assert lines[0].startswith("average precision")
    assert f"[{span.low:.4f}, {span.high:.4f}]" in lines[0]
    assert lines[1].startswith("prevalence")
    assert any("oracle" in line for line in lines)
    assert any(line.startswith("any overlap") for line in lines)
    assert any(line.startswith("IoU >= 0.5") for line in lines)
    assert lines[-1] == "note: resampled"
    assert max(map(len, lines)) <= 130


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


# Whole objects.


def _mask(*rows: str) -> np.ndarray:
    """(y, x) bool, True at #."""
    return np.array([[cell == "#" for cell in row] for row in rows])


def _match(
    truth: np.ndarray, called: np.ndarray, min_object: int, unknown: Any = slice(0)
) -> Objects:
    judged = np.ones(truth.shape, dtype=bool)
    judged[unknown] = False
    return match_objects(truth, called, judged, min_object)


TRUTH = _mask(
    "###...##..",
    "###...##..",
    "###.......",
    "........#.",
    "##.......#",
    "##........",
)
CALLED = _mask(
    "###.......",
    "###.......",
    "......##..",
    "..#...##..",
    "##........",
    "##...#....",
)


def test_objects_by_hand() -> None:
    found = _match(TRUTH, CALLED, 1)
    # Labelled: the 3 x 3, the 2 x 2 at the top, the diagonal pair, the 2 x 2 at the left.
    # Called: 2 x 3, a 2 x 2 beside the pair, the 2 x 2 with a pixel at its corner, one pixel.
    assert (found.labelled, found.called) == (4, 4)
    assert (found.any_overlap.found, found.any_overlap.right) == (2, 2)
    assert (found.iou_half.found, found.iou_half.right) == (2, 2)
    assert found.any_overlap.recall == 0.5
    assert found.any_overlap.precision == 0.5


def test_objects_smaller_than_the_minimum_are_neither_missed_nor_false() -> None:
    found = _match(TRUTH, CALLED, 4)
    assert (found.labelled, found.called) == (3, 3)
    assert (found.any_overlap.found, found.any_overlap.right) == (2, 2)
    none = _match(TRUTH, CALLED, 20)
    assert (none.any_overlap.recall, none.any_overlap.precision) == (None, None)


def test_a_called_object_on_a_labelled_one_too_small_to_count_is_right() -> None:
    truth, called = np.zeros((2, 12, 12), dtype=bool)
    truth[0, 0] = True
    truth[6:10, 6:10] = True
    called[0:3, 0:3] = True
    found = _match(truth, called, 4)
    assert (found.labelled, found.called) == (1, 1)
    assert (found.any_overlap.found, found.any_overlap.right) == (0, 1)


def test_one_object_over_everything_is_found_by_overlap_only() -> None:
    found = _match(TRUTH, np.ones_like(TRUTH), 4)
    assert (found.any_overlap.recall, found.any_overlap.precision) == (1.0, 1.0)
    assert (found.iou_half.recall, found.iou_half.precision) == (0.0, 0.0)


def test_unlabelled_ground_is_held_against_no_object() -> None:
    truth, called = np.zeros((2, 20, 20), dtype=bool)
    truth[2:6, 2:6] = True
    called[2:6, 2:12] = True  # 16 of its 40 pixels are on the object: IoU 0.4
    called[10:14, 10:14] = True
    assert _match(truth, called, 4).iou_half.found == 0
    unknown = (slice(None), slice(6, None))
    found = _match(truth, called, 4, unknown)
    assert (found.iou_half.found, found.called, found.any_overlap.right) == (1, 1, 1)


@given(seed=st.integers(0, 10_000), min_object=st.integers(1, 12))
def test_objects_equal_a_plain_loop(seed: int, min_object: int) -> None:
    rng = np.random.default_rng(seed)
    truth, called = (ndimage.uniform_filter(rng.random((24, 30)), 3) > 0.56 for _ in range(2))
    judged = rng.random((24, 30)) > 0.2
    found = match_objects(truth, called, judged, min_object)

    def groups(mask: np.ndarray) -> list[set[int]]:
        numbers, count = ndimage.label(mask, structure=np.ones((3, 3)))
        each = [np.flatnonzero((numbers == n) & judged) for n in range(1, count + 1)]
        return [set(pixels.tolist()) for pixels in each]

    def iou(one: set[int], other: set[int]) -> float:
        return len(one & other) / len(one | other) if one | other else 0.0

    labelled, polygons = groups(truth), groups(called)
    large = [each for each in labelled if len(each) >= min_object]
    kept = [each for each in polygons if len(each) >= min_object]
    assert (found.labelled, found.called) == (len(large), len(kept))
    overlap, half = found.any_overlap, found.iou_half
    assert overlap.found == sum(any(one & other for other in kept) for one in large)
    assert overlap.right == sum(any(one & other for other in labelled) for one in kept)
    assert half.found == sum(any(iou(one, other) >= 0.5 for other in kept) for one in large)
    assert half.right == sum(any(iou(one, other) >= 0.5 for other in labelled) for one in kept)


def test_objects_are_by_default_as_small_as_published_polygons() -> None:
    assert MIN_OBJECT == MIN_PIXELS


# Intervals.

SIDE = 16


def _patchy(seed: int, blocks: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Score and label whose blocks differ: what a pixel tells is shared by its block."""
    rng = np.random.default_rng(seed)

    def spread(values: np.ndarray) -> np.ndarray:
        return np.kron(values, np.ones((SIDE, SIDE)))

    shape = (blocks * SIDE, blocks * SIDE)
    shift = spread(rng.normal(size=(blocks, blocks)) * 0.8)
    share = spread(rng.beta(1, 4, size=(blocks, blocks)))
    label = (rng.random(shape) < share).astype(np.uint8)
    return (rng.normal(size=shape) + shift + 1.5 * label).astype(np.float32), label


def _hits(truth: Evaluation, block: int, scenes: int) -> np.ndarray:
    """Share of scenes whose interval of AP, AUC, recall at 1 % and F1 holds the truth, (4,)."""
    assert truth.shipped is not None
    values = (
        truth.average_precision,
        truth.roc_auc,
        truth.recall_at_1pct_false_alarms,
        truth.shipped.f1,
    )
    hits = np.zeros(4)
    for seed in range(scenes):
        found = evaluate(*_patchy(seed), threshold=2.0, block=block).intervals
        assert found is not None
        assert found.f1 is not None
        spans = (
            found.average_precision,
            found.roc_auc,
            found.recall_at_1pct_false_alarms,
            found.f1,
        )
        hits += [span.low <= value <= span.high for span, value in zip(spans, values, strict=True)]
    return hits / scenes


def test_intervals_hold_the_truth_as_often_as_they_say_and_pixels_alone_do_not() -> None:
    truth = evaluate(*_patchy(1000, blocks=60), threshold=2.0)
    assert _hits(truth, SIDE, 40).min() >= CONFIDENCE - 0.15
    assert _hits(truth, 4, 10).mean() < 0.75


def test_intervals_are_repeatable_and_hold_the_figure_itself() -> None:
    score, label = _patchy(3)
    one, two = (evaluate(score, label, threshold=2.0) for _ in range(2))
    assert one.intervals == two.intervals
    assert one.intervals is not None
    for span, value in (
        (one.intervals.average_precision, one.average_precision),
        (one.intervals.roc_auc, one.roc_auc),
    ):
        assert 0 <= span.low < value < span.high <= 1


def test_a_draw_equals_the_measures_of_the_blocks_drawn() -> None:
    """Of one draw, against scikit-learn on the very pixels of its blocks."""
    score, label = _patchy(4)
    drawn = evaluate(score, label, threshold=2.0, block=SIDE).resampled
    assert drawn is not None
    assert drawn.f1 is not None
    count = (score.shape[0] // SIDE) ** 2
    weights = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    numbers = np.arange(count).reshape(8, 8)
    times = np.kron(weights[7][numbers], np.ones((SIDE, SIDE), int)).ravel()
    truth, values = np.repeat(label.ravel(), times), np.repeat(score.ravel(), times)
    assert drawn.average_precision[7] == pytest.approx(
        metrics.average_precision_score(truth, values), abs=2e-3
    )
    assert drawn.roc_auc[7] == pytest.approx(metrics.roc_auc_score(truth, values), abs=1e-3)
    assert drawn.f1[7] == pytest.approx(metrics.f1_score(truth, values >= 2.0), abs=1e-6)


def test_blocks_without_labels_take_no_part() -> None:
    score, label = _patchy(5)
    wide = np.full((128, 256), 255, np.uint8)
    wide[:, :128] = label
    padded = np.pad(score, ((0, 0), (0, 128)))
    found = evaluate(padded, wide, block=SIDE).intervals
    assert found == evaluate(score, label, block=SIDE).intervals
    assert found is not None
    assert found.blocks == 64


def test_too_few_blocks_with_anomalies_give_no_interval() -> None:
    score, label = _patchy(6)
    label[16:] = 0
    label[:, 64:] = 0
    found = evaluate(score, label, threshold=2.0, block=SIDE)
    assert found.intervals is None
    assert json.loads(found.to_json())["intervals"] is None
    assert "no intervals" in found.as_table()


def test_blocks_that_are_far_too_small_are_refused() -> None:
    score, label = _patchy(6)
    with pytest.raises(ParameterError, match=f"{MAX_BLOCKS:,}") as caught:
        evaluate(score, label, block=1)
    assert caught.value.field == "block"


def test_about_256_blocks_cover_a_heatmap_of_any_size() -> None:
    for shape in ((10_000, 10_000), (400, 400), (1534, 808)):
        side = default_block(shape)
        assert 200 <= shape[0] * shape[1] / side**2 <= 256
    assert default_block((80, 100)) == 8


# Several heatmaps.


@pytest.fixture
def rivals(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Heatmaps good/heatmap.tif and poor/heatmap.tif, and their label."""
    score, label = _patchy(7)
    paths = [tmp_path / name / "heatmap.tif" for name in ("good", "poor")]
    noise = np.random.default_rng(7).normal(size=score.shape).astype(np.float32)
    for path, values in zip(paths, (score, score + 2 * noise), strict=True):
        path.parent.mkdir()
        _write(path, values.astype(np.float32), GEOANOMALY_THRESHOLD="2")
    return paths[0], paths[1], _write(tmp_path / "label.tif", label)


Call = Callable[..., tuple[int | str | None, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """The command line in this process: exit code, stdout, stderr."""

    def calling(*arguments: object) -> tuple[int | str | None, str, str]:
        monkeypatch.setattr(sys, "argv", ["geoanomaly", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return calling


def test_compare_marks_the_best_in_one_table(
    rivals: tuple[Path, Path, Path], tmp_path: Path, call: Call
) -> None:
    good, poor, label = rivals
    picture = tmp_path / "curves.png"
    code, out, _ = call("evaluate", poor, label, "--compare", good, "--curves", picture)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("heatmap")
    first, second = lines[1].split(), lines[2].split()
    expected = [evaluate_files(each, label) for each in (poor, good)]
    assert first[:3] == [
        "poor",
        f"{expected[0].average_precision:.4f}",
        f"{expected[0].roc_auc:.4f}",
    ]
    assert second[:3] == [
        "good",
        f"{expected[1].average_precision:.4f}*",
        f"{expected[1].roc_auc:.4f}*",
    ]
    assert lines[1].endswith("]"), "how far behind the best, with its interval"
    assert not lines[2].endswith("]")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_compare_as_json_has_all_that_one_evaluation_has(
    rivals: tuple[Path, Path, Path], call: Call
) -> None:
    good, poor, label = rivals
    _, out, _ = call("evaluate", good, label, "--compare", poor, "--json", "--min-object", 9)
    record = json.loads(out)
    assert record["best"] == "good"
    for name, path in (("good", good), ("poor", poor)):
        _, alone, _ = call("evaluate", path, label, "--json", "--min-object", 9)
        assert record["heatmaps"][name] == json.loads(alone)
        assert record["heatmaps"][name]["objects"]["min_object"] == 9
    behind = record["average_precision_behind_best"]
    assert list(behind) == ["poor"]
    assert behind["poor"]["low"] < behind["poor"]["high"] < 0


def test_compare_judges_all_by_the_pixels_that_all_score(
    rivals: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    good, poor, label = rivals
    with rasterio.open(poor) as file:
        values = file.read(1)
    values[:40] = np.nan
    holed = _write(tmp_path / "holed.tif", values, GEOANOMALY_THRESHOLD="2")
    found = compare_files([good, holed], label)
    counts = {(each.n_labelled, each.n_no_score) for each in found.evaluations.values()}
    assert counts == {(88 * 128, 40 * 128)}
    with rasterio.open(good) as file, rasterio.open(label) as labels:
        expected = evaluate(file.read(1)[40:], labels.read(1)[40:])
    best = found.evaluations[found.best]
    assert best.average_precision == pytest.approx(expected.average_precision)


def test_heatmaps_on_other_grids_are_refused(
    rivals: tuple[Path, Path, Path], tmp_path: Path, call: Call
) -> None:
    good, _, label = rivals
    with rasterio.open(good) as file:
        moved = _write(tmp_path / "moved.tif", file.read(1), _grid(west=500_010))
    code, _, err = call("evaluate", good, label, "--compare", moved)
    assert code == 2
    assert err.startswith("error: compare: ")
    assert "moved.tif" in err
    code, _, err = call("evaluate", good, label, "--compare", tmp_path / "no.tif")
    assert (code, "no.tif" in err) == (2, True)


def test_an_equal_rival_is_not_told_apart(rivals: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """A hair's difference has an interval around zero, however wide those of both are."""
    good, _, label = rivals
    with rasterio.open(good) as file:
        values = file.read(1)
    hair = np.random.default_rng(8).normal(size=values.shape) * 1e-3
    other = _write(tmp_path / "other.tif", (values + hair).astype(np.float32))
    found = compare_files([good, other], label)
    second = next(name for name in found.evaluations if name != found.best)
    span = found.behind_best(second)
    assert span is not None
    assert span.low < 0.001
    assert span.high > -0.001
    wide = found.evaluations[found.best].intervals
    assert wide is not None
    alone = wide.average_precision.high - wide.average_precision.low
    assert span.high - span.low < alone / 20


def test_names_are_what_tells_paths_apart() -> None:
    paths = [Path("/runs/a/heatmap.tif"), Path("/runs/b/x/heatmap.tif")]
    assert short_names(paths) == ["a", "b/x"]
    assert short_names([Path("one.tif"), Path("two.tif")]) == ["one.tif", "two.tif"]
    assert short_names([Path("a/h.tif"), Path("a/b/a/h.tif")]) == ["a/h.tif", "a/b/a/h.tif"]
    assert short_names(paths[:1]) == [str(paths[0])]
