"""The benchmark from end to end on tiny sets that the test makes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from benchmarks import ablations, quality
from benchmarks.ablations import Ablation
from benchmarks.aims import aims
from benchmarks.cases import CASES
from benchmarks.collected import Results, average_precision
from benchmarks.plan import first_round, second_round
from benchmarks.runs import Cache, Record, Task, execute
from benchmarks.sets import KNOWN, Family, LabelledSet, find_sets
from benchmarks.tables import false_alarm_table, ranking_table, seconds_table
from geoanomaly import detectors
from geoanomaly.detectors import detector_named
from geoanomaly.types import Process
from tests.rasters import change_pair, texture, write_raster
from tests.services import wait_for

ROOT = Path(quality.__file__).parents[1]


def _change_set(folder: Path, seed: int = 0) -> None:
    truth = change_pair(folder, size=96, seed=seed)[2]
    label = truth.astype(np.uint8)
    label[:8] = 255
    write_raster(folder / "label.tif", label[None])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    _change_set(folder / "town")
    return folder


def _single_scene(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    scene = texture(3, 6, 64, 64)
    label = np.zeros((1, 64, 64), np.uint8)
    label[0, 20:23, 40:43] = 1
    scene[:, label[0] == 1] += np.array([300, -300, 300, -300, 300, -300])[:, None]
    write_raster(folder / f"{name}.tif", scene)
    write_raster(folder / f"{name}-label.tif", label)


# Which sets there are.


def test_a_layout_makes_a_set(tmp_path: Path) -> None:
    for name in ("town", "sar-lake"):
        _change_set(tmp_path / name)
    for name in ("first", "second"):
        _single_scene(tmp_path / "hsi-field", name)
    _single_scene(tmp_path / "mine", "first")
    flood = tmp_path / "a-flood"
    flood.mkdir()
    write_raster(flood / "X_S2Hand.tif", texture(1, 3, 16, 16))
    write_raster(flood / "X_LabelHand.tif", np.zeros((1, 16, 16), np.int16))
    write_raster(flood / "X_S1Hand.tif", texture(1, 2, 16, 16))
    (tmp_path / "nothing").mkdir()
    found = {each.name: each for each in find_sets(tmp_path)}
    assert {name: each.family for name, each in found.items()} == {
        "a-flood": Family.SINGLE,
        "hsi-field-first": Family.HYPERSPECTRAL,
        "second": Family.HYPERSPECTRAL,
        "mine-first": Family.SINGLE,
        "sar-lake": Family.SAR_CHANGE,
        "town": Family.CHANGE,
    }
    assert found["sar-lake"].spec("rwr", 1).sensor == "sar"
    assert found["town"].spec("rwr", 1).sensor is None
    assert found["a-flood"].scenes[0].name == "X_S2Hand.tif"


def test_no_data_is_said_and_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert quality.main(["--data", str(tmp_path / "none"), "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert all(name in said for name in KNOWN)
    assert "no labelled set" in said
    assert not out.exists()


# From end to end.


def _command(data: Path, out: Path) -> list[str]:
    chosen = ["--detectors", "rwr", "rx"]
    where = ["--data", str(data), "--out", str(out)]
    return [sys.executable, "-m", "benchmarks.quality", *where, *chosen]


def _alive(group: int) -> list[str]:
    """Command lines of the processes of a group."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
    return found


def test_a_stopped_benchmark_goes_on_and_writes_tables_pictures_and_json(
    data: Path, tmp_path: Path
) -> None:
    _single_scene(data / "mine", "yard")
    out = tmp_path / "out"
    command = _command(data, out)
    with subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        first = next(line for line in lines if re.match(r" +1/4 ", line))
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        rest = process.stderr.read()
        assert process.wait(30) == 130
    assert "AP " in first
    assert "left" in first
    assert "goes on" in rest
    assert "Traceback" not in rest
    wait_for(lambda: not _alive(process.pid), "the end of every process")
    assert not (out / "docs").exists()

    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    kept = re.search(r"4 runs, (\d) of them done before", again.stderr)
    assert kept
    assert int(kept[1]) >= 1

    page = (out / "docs" / "quality.md").read_text()
    record = json.loads((out / "benchmarks" / "results" / "quality.json").read_text())
    runs = {(run["set"], run["detector"], run["seed"]): run for run in record["runs"]}
    assert sorted(runs) == [
        *(("town", "rwr", seed) for seed in (0, 1)),
        *(("yard", "rx", seed) for seed in (0, 1)),
    ]
    town = runs["town", "rwr", 0]["evaluation"]
    assert town["average_precision"] > 0.9
    assert town["n_labelled"] == 96 * 88
    assert runs["town", "rwr", 0]["seconds"]["fitting"] > 0
    assert set(record["missing"]) == set(KNOWN)
    assert record["sets"]["town"]["family"] == "change"
    assert re.search(r"\| town \| [\d.]+ % \|", page)
    assert "## Not there" in page

    # Nothing is run again, and what is written is the same.
    third = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "4 runs, 4 of them done before" in third.stderr
    assert (out / "docs" / "quality.md").read_text() == page


@pytest.fixture
def linear(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast detectors are the defaults."""
    names = ("rwr", "rx")
    monkeypatch.setattr(detectors, "DETECTORS", tuple(detector_named(name) for name in names))


@pytest.mark.usefixtures("linear")
def test_pictures_of_the_default_with_and_without_imagery(data: Path, tmp_path: Path) -> None:
    town = find_sets(data)[0]
    cache = Cache(tmp_path / "runs")
    record = execute(Task(town, "rwr", 0, keep=True), cache, tmp_path)
    results = Results((town,), (record,))
    made = quality.Made("2026-01-01", cache.code, (), {})
    quality._write(tmp_path / "out", results, made, cache)
    for name in ("benchmarks/results/pictures/town.jpg", "docs/images/quality-change.jpg"):
        picture = (tmp_path / "out" / name).read_bytes()
        assert picture.startswith(b"\xff\xd8\xff")
        assert len(picture) < 300_000
    page = (tmp_path / "out" / "docs" / "quality.md").read_text()
    assert "images/quality-change.jpg" in page


@pytest.mark.usefixtures("linear")
def test_cases_are_drawn_once_and_told_of(data: Path, tmp_path: Path) -> None:
    cases = [case for case in CASES if case.name != "nrt-romania-s2"]  # a netCDF of 140 dates
    river, frame, flood = (data / case.name for case in reversed(cases))
    change_pair(river, size=64)
    (river / "before.tif").rename(river / "2010.tif")
    (river / "after.tif").rename(river / "2015.tif")
    frame.mkdir()
    write_raster(frame / "frame.tif", texture(1, 5, 64, 64), crs=None)
    flood.mkdir()
    water = np.zeros((1, 64, 64), np.int16)
    water[0, :20], water[0, 60:] = 1, -1
    write_raster(flood / "Spain_7370579_S2Hand.tif", texture(1, 6, 64, 64))
    write_raster(flood / "Spain_7370579_LabelHand.tif", water)
    cache = Cache(tmp_path / "runs")
    tasks = quality._case_tasks(data)
    assert [task.case for task in tasks] == cases
    for task in tasks:
        assert quality._drawn_before(task, cache) is None
        drawn = quality._draw_case(task, cache, tmp_path)
        assert drawn.error is None
        assert drawn.picture.read_bytes().startswith(b"\xff\xd8\xff")
        assert quality._drawn_before(task, cache) == drawn
    made = quality.Made("2026-01-01", cache.code, (), {CASES[0].name: drawn.picture})
    quality._write(tmp_path / "out", Results((), ()), made, cache)
    page = (tmp_path / "out" / "docs" / "quality.md").read_text()
    assert CASES[0].caption in page
    assert "no default any more" in page, "rx drew it, the caption was written of another"
    assert CASES[1].title not in page
    assert (tmp_path / "out" / "benchmarks/results/pictures" / CASES[0].file).is_file()


# What is run, and what is kept.


@pytest.fixture
def town(data: Path) -> LabelledSet:
    return find_sets(data)[0]


def test_a_record_is_kept_for_the_same_code_and_data_only(
    town: LabelledSet, tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "runs")
    task = Task(town, "rwr", 0)
    assert cache.record(task) is None
    record = execute(task, cache, tmp_path)
    assert cache.record(task) == record
    assert cache.record(Task(town, "rwr", 1)) is None
    assert cache.record(Task(town, "rwr", 0, keep=True)) is None, "its heatmap was not kept"
    other = Cache(tmp_path / "runs")
    other.folder = other.folder.with_name("other-code")
    assert other.record(task) is None
    label = np.zeros((1, 96, 96), np.uint8)
    label[0, :5] = 1
    write_raster(town.label, label)
    assert cache.record(task) is None


def test_what_geoanomaly_refuses_is_a_result_and_a_defect_is_none(
    town: LabelledSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "runs")
    write_raster(town.label, np.zeros((1, 96, 96), np.uint8))
    refused = execute(Task(town, "rwr", 0), cache, tmp_path)
    assert refused.evaluation is None
    assert "0 anomalous" in (refused.error or "")
    assert not refused.crashed
    assert cache.record(Task(town, "rwr", 0)) == refused

    def broken() -> None:
        raise RuntimeError("boom")

    variant = Ablation("broken", "raises", Process.DETECT_CHANGE, broken)  # type: ignore[arg-type]
    monkeypatch.setattr(ablations, "ABLATIONS", (variant,))
    crashed = execute(Task(town, "broken", 0), cache, tmp_path)
    assert crashed.crashed
    assert "boom" in (crashed.error or "")
    assert cache.record(Task(town, "broken", 0)) is None


def test_an_ablation_runs_like_a_detector_and_only_within_the_benchmark(
    town: LabelledSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = Ablation("same", "nothing", Process.DETECT_CHANGE, detector_named("rwr").family)
    monkeypatch.setattr(ablations, "ABLATIONS", (same,))
    cache = Cache(tmp_path / "runs")
    assert "same" in {task.detector for task in first_round([town])}
    one = execute(Task(town, "same", 0), cache, tmp_path)
    two = execute(Task(town, "rwr", 0), cache, tmp_path)
    assert one.evaluation == two.evaluation
    assert "same" not in {entry.name for entry in detectors.DETECTORS}


# Plan and tables, on figures made up.


def _record(name: str, detector: str, seed: int, precision: float, rate: float = 0.01) -> Record:
    evaluation = {
        "prevalence": 0.1,
        "average_precision": precision,
        "roc_auc": precision,
        "shipped": {"false_alarm_rate": rate, "f1": precision},
        "intervals": {"average_precision": {"low": precision - 0.02, "high": precision + 0.02}},
    }
    seconds = {"fitting": 2.0, "scoring": 1.0, "processor": 4.0, "all": 5.0}
    return Record(name, detector, seed, evaluation, seconds)


@pytest.fixture
def three(town: LabelledSet) -> list[LabelledSet]:
    return [replace(town, name=name) for name in ("landsat-taizhou", "b", "c")]


@pytest.fixture
def two_detectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """For change cvae, the default, and rwr; for single scenes rx."""
    names = ("cvae", "rwr", "rx")
    monkeypatch.setattr(detectors, "DETECTORS", tuple(detector_named(name) for name in names))


@pytest.mark.usefixtures("two_detectors")
@pytest.mark.parametrize("moves", [False, True])
def test_the_second_seed_runs_where_it_changes_something(
    three: list[LabelledSet], moves: bool
) -> None:
    first = first_round(three)
    names = {task.name for task in first}
    assert {f"{each.name} cvae seed 1" for each in three} <= names
    twice = [each.name for each in three if f"{each.name} rwr seed 1" in names]
    assert len(twice) == 2
    records = {
        task.name: _record(
            task.set.name,
            task.detector,
            task.seed,
            0.9 + (0.01 * task.seed if moves and task.set.name == twice[1] else 0),
        )
        for task in first
    }
    again = second_round(first, records)
    third = next(each.name for each in three if each.name not in twice)
    assert [task.name for task in again] == ([f"{third} rwr seed 1"] if moves else [])
    kept = {task.name for task in first if task.keep}
    assert kept == {f"{each.name} cvae seed 0" for each in three}


@pytest.fixture
def results(three: list[LabelledSet]) -> Results:
    figures = {"landsat-taizhou": (0.99, 0.995), "b": (0.8, 0.7), "c": (0.6, 0.6)}
    records = [
        _record(name, detector, seed, precision + 0.01 * seed * (name == "c"), rate=0.03)
        for name, pair in figures.items()
        for detector, precision in zip(("cvae", "rwr"), pair, strict=True)
        for seed in (0, 1)
    ]
    return Results(tuple(three), tuple(records))


@pytest.mark.usefixtures("two_detectors")
def test_tables_mark_the_best_and_say_what_the_default_loses_by(results: Results) -> None:
    table = ranking_table(
        results, Family.CHANGE, average_precision, ["cvae", "rwr"], interval="average_precision"
    )
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert rows[0] == ["set", "anomalous", "cvae (default)", "95 %", "rwr", "loses by"]
    assert rows[2] == ["landsat-taizhou", "10 %", ".990", ".970–1.000", "**.995**", ".005"]
    assert rows[3] == ["b", "10 %", "**.800**", ".780–.820", ".700", "0"]
    assert rows[4] == ["c", "10 %", "**.605 ±.005**", ".580–.620", "**.605 ±.005**", "0"]
    assert rows[5] == ["*mean*", "", "**.798**", "", ".767", "0"]
    assert rows[6] == ["*worst*", "", "**.605**", "", "**.605**", "0"]
    assert "| b | 3.00 % | 3.00 % |" in false_alarm_table(results, Family.CHANGE, ["cvae", "rwr"])
    # Six runs of 96 x 96 pixels took a second of scoring each.
    assert f"| cvae | 2.0 | 2.0 | {1e6 / 96**2:.1f} | 4.0 |" in seconds_table(
        results, Process.DETECT_CHANGE
    )


@pytest.mark.usefixtures("two_detectors")
def test_a_detector_that_failed_somewhere_has_no_mean(results: Results) -> None:
    records = [
        Record(each.set, each.detector, each.seed, None, {}, error="no overlap")
        if (each.set, each.detector) == ("b", "rwr")
        else each
        for each in results.records
    ]
    table = ranking_table(
        replace(results, records=tuple(records)),
        Family.CHANGE,
        average_precision,
        ["cvae", "rwr"],
        interval="average_precision",
    )
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert rows[3][4] == "—"
    assert rows[5][4] == "—"


@pytest.mark.usefixtures("two_detectors")
def test_aims_that_are_missed_are_said(results: Results) -> None:
    found = {aim.text: aim for aim in aims(results)}
    assert not found["AP of landsat-taizhou ≥ 0.995"].reached
    margin = found["mean AP ≥ .03 above the better of IR-MAD and RWR"]
    assert (margin.figure, margin.reached) == ("+0.032", True)
    worst = found["never more than .01 below the better of IR-MAD and RWR"]
    assert (worst.figure, worst.reached) == ("-0.005 (landsat-taizhou)", True)
    assert not any("false alarms" in text and aim.reached for text, aim in found.items())
