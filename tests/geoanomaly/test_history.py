"""With a history of the place, surprise is counted, not estimated; and a forecast sees more."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine
from scipy.ndimage import binary_dilation, gaussian_filter
from sklearn.metrics import average_precision_score

from geoanomaly.calibration import (
    CEILING,
    Conformal,
    Earlier,
    LogNormal,
    calibrate,
    conformal,
    restore,
)
from geoanomaly.errors import ParameterError, SceneError
from geoanomaly.history import stacked
from geoanomaly.intake.check import check
from geoanomaly.pipeline import run
from geoanomaly.scenes.inputs import open_inputs
from geoanomaly.scenes.timeline import acquired, alike
from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec, Process, RunResult, Scene, silent
from tests.rasters import NORTH_UP, texture, write_raster

DAYS = ("2019-06-25", "2020-07-05", "2021-07-02", "2022-06-30")


def place(folder: Path, seed: int = 0, size: int = 192) -> tuple[JobSpec, NDArray[np.bool_]]:
    """Three calm dates and one with anomalies: other gain, offset, season and heavy noise each."""
    rng = np.random.default_rng(seed)
    ground, season = (texture(seed + k, 4, size, size) for k in (0, 1000))
    truth = np.zeros((size, size), dtype=bool)
    for row, col in rng.integers(20, size - 40, (4, 2)):
        truth[row : row + 16, col : col + 18] = True
    folder.mkdir(parents=True, exist_ok=True)
    scenes = []
    for day in DAYS:
        gain, offset = rng.uniform(0.7, 1.4, (4, 1, 1)), rng.uniform(0, 300, (4, 1, 1))
        noise = gaussian_filter(rng.standard_t(4, size=ground.shape), (0, 1, 1)) * 40
        data = (ground + rng.uniform(0.1, 0.3) * (season - 1000)) * gain + offset + noise
        if day == DAYS[-1]:
            data[:, truth] += np.where(np.arange(4) % 2, -1, 1)[:, None] * 150
        path = write_raster(folder / f"{day}.tif", np.clip(data, 1, 60_000).astype(np.uint16))
        scenes.append(Scene(str(path), title=path.name))
    pair = (scenes[-2], scenes[-1])
    spec = JobSpec(Process.DETECT_CHANGE, pair, detector="rwr", history=tuple(scenes[:-2]))
    return spec, truth


def work(spec: JobSpec, folder: Path, settings: Settings) -> tuple[NDArray[np.float32], RunResult]:
    result = run(
        spec, out=folder / "out", scratch=folder / "scratch", settings=settings, report=silent
    )
    with rasterio.open(folder / "out" / "heatmap.tif") as raster:
        return np.asarray(raster.read(1)), result


@pytest.mark.parametrize("seed", [0, 1])
def test_false_alarms_are_as_many_as_asked_for(
    tmp_path: Path, settings: Settings, seed: int
) -> None:
    spec, truth = place(tmp_path, seed, 512)
    check(spec, settings)
    counted, result = work(spec, tmp_path / "counted", settings)
    estimated, _ = work(replace(spec, history=()), tmp_path / "estimated", settings)
    unchanged = ~binary_dilation(truth, iterations=8)
    realised = (counted[unchanged] >= 2).mean()
    assert 0.007 < realised < 0.014
    assert abs(realised - 0.01) < abs((estimated[unchanged] >= 2).mean() - 0.01)
    assert (counted[truth] >= 2).mean() > 0.9
    shares = result.summary["model"]["calibration"]["shares"]
    assert np.mean(shares) == pytest.approx(0.01, rel=0.1)


def test_what_the_shares_rest_on_is_told_everywhere(tmp_path: Path, settings: Settings) -> None:
    spec, _ = place(tmp_path)
    told = {}
    for name, each in (("with", spec), ("without", replace(spec, history=()))):
        _, result = work(each, tmp_path / name, settings)
        out = tmp_path / name / "out"
        item = json.loads((out / "item.json").read_text())
        report = json.loads((out / "run.json").read_text())
        with rasterio.open(out / "heatmap.tif") as raster:
            tag = raster.tags()["GEOANOMALY_CALIBRATION"]
        told[name] = {
            item["properties"]["geoanomaly:calibration"], report["model"]["calibration_kind"], tag,
        }  # fmt: skip
        assert len(report["inputs"]) == (4 if name == "with" else 2)
        assert result.summary["threshold"]["expected_false_alarm_pixels_per_km2"] == (
            pytest.approx(0.01 * 10_000, rel=0.01)
        )
    assert told["with"] == {"calibrated on the history of the place (2 pairs)"}
    assert told["without"] == {"estimate, without history of the place"}


def test_the_order_of_dated_scenes_does_not_matter(tmp_path: Path, settings: Settings) -> None:
    spec, _ = place(tmp_path)
    one, _ = work(spec, tmp_path / "one", settings)
    other, _ = work(replace(spec, history=spec.history[::-1]), tmp_path / "other", settings)
    assert np.array_equal(one, other)


def test_a_restarted_job_keeps_its_calibration(tmp_path: Path, settings: Settings) -> None:
    spec, _ = place(tmp_path)
    first, _ = work(spec, tmp_path / "job", settings)
    for scene in spec.history:  # were they calibrated on again, it would be on these
        with rasterio.open(scene.href, "r+") as raster:
            raster.write(raster.read()[:, ::-1])
    (tmp_path / "job" / "scratch" / "surprise.zarr").rename(tmp_path / "gone")
    again, _ = work(spec, tmp_path / "job", settings)
    assert np.array_equal(first, again)
    fresh, _ = work(spec, tmp_path / "fresh", settings)
    assert not np.array_equal(first, fresh)


def test_a_history_that_shares_no_pixels_leaves_the_estimate(
    tmp_path: Path, settings: Settings
) -> None:
    spec, _ = place(tmp_path)
    parts = (slice(0, 20), slice(20, 40), slice(40, None))
    for scene, rows in zip((*spec.history, spec.scenes[0]), parts, strict=True):
        with rasterio.open(scene.href, "r+") as raster:
            kept = np.zeros(raster.shape, bool)
            kept[rows] = True
            data = raster.read() * kept
            raster.nodata = 0
            raster.write(data)
    check(spec, settings)
    _, result = work(spec, tmp_path / "job", settings)
    assert "estimate" in result.summary["stac"]["geoanomaly:calibration"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"history": 1}, "at least 2 earlier scenes of the place beside the before scene, 1 was"),
        ({"history": 0, "detector": "history"}, "Detector history needs at least 2"),
        ({"process": Process.DETECT_ANOMALY, "detector": None}, "give a before scene too"),
    ],
)
def test_what_a_history_needs(
    tmp_path: Path, settings: Settings, changes: dict[str, object], text: str
) -> None:
    spec, _ = place(tmp_path, size=64)
    if isinstance(changes.get("history"), int):
        changes = {**changes, "history": spec.history[: changes["history"]]}
    if changes.get("process") is Process.DETECT_ANOMALY:
        changes = {**changes, "scenes": spec.scenes[1:]}
    with pytest.raises(ParameterError, match=text) as caught:
        check(replace(spec, **changes), settings)  # type: ignore[arg-type]
    assert caught.value.field == "history"


@pytest.mark.parametrize("fault", ["bands", "place", "later", "empty", "missing"])
def test_a_scene_of_the_history_at_fault_is_named(
    tmp_path: Path, settings: Settings, fault: str
) -> None:
    spec, _ = place(tmp_path, size=64)
    path = tmp_path / ("2023-01-01.tif" if fault == "later" else "2018-07-01.tif")
    data = texture(3, 3 if fault == "bands" else 4, 64, 64).astype(np.uint16)
    where = NORTH_UP * Affine.translation(1000, 0) if fault == "place" else NORTH_UP
    if fault == "empty":
        data[:] = 0
    if fault != "missing":
        write_raster(path, data, transform=where, nodata=0)
    wrong = Scene(str(path), title=path.name)
    with pytest.raises(SceneError, match=path.name) as caught:
        check(replace(spec, history=(spec.history[0], wrong)), settings)
    assert caught.value.field == "history"


def test_a_spec_with_a_history_survives_json(tmp_path: Path) -> None:
    spec, _ = place(tmp_path, size=64)
    assert JobSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    old = {key: value for key, value in spec.to_json().items() if key != "history"}
    assert JobSpec.from_json(old) == replace(spec, history=())


def field(seed: int, sigma: float, size: int = 256) -> Earlier:
    """Log-normal scores, smooth over `sigma` pixels, with heavier tails than their estimate."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=(size, size)), sigma)
    deviate = smooth / smooth.std()
    score = np.exp(0.5 * np.where(deviate > 0, deviate * (1 + 0.3 * deviate), deviate))
    row, col = np.indices(score.shape) // 32
    estimate = LogNormal(0.0, 0.5, 1)
    return Earlier(
        estimate.surprise(score.astype(np.float32)).ravel(), (row * size // 32 + col).ravel()
    )


@pytest.mark.parametrize(("rate", "tolerance"), [(0.1, 0.1), (0.01, 0.25), (0.002, 0.5)])
def test_a_new_pair_exceeds_as_often_as_told(rate: float, tolerance: float) -> None:
    made = conformal(LogNormal(0, 0.5, 1), [field(1, 1.5), field(2, 1.5)])
    new = np.concatenate([field(seed, 1.5).surprise for seed in range(10, 16)])
    assert (new >= -np.log10(rate)).mean() > 1.4 * rate  # the estimate is wrong here
    realised = (made.corrected(new) >= -np.log10(rate)).mean()
    assert realised == pytest.approx(rate, rel=tolerance)


def test_neighbours_that_are_alike_count_as_one() -> None:
    def worth(sigma: float) -> float:
        estimate = LogNormal(0, 0.5, 1)
        return conformal(estimate, [field(1, sigma), field(2, sigma)]).effective

    assert worth(0.01) > 30_000
    assert worth(0.01) > 3 * worth(2) > 9 * worth(6)
    whole = field(1, 2)
    one_a_block = np.random.default_rng(0).exponential(size=64).astype(np.float32)[whole.block]
    alike = conformal(LogNormal(0, 0.5, 1), [Earlier(one_a_block, whole.block)])
    assert alike.effective == alike.blocks == 64
    # A share smaller than that of one block cannot be told.
    assert alike.resolved < np.log10(65)


def test_one_event_in_three_pairs_hides_nothing() -> None:
    calm = [field(seed, 1.5) for seed in (1, 2, 3)]
    event = np.where(calm[2].block < 16, np.float32(30), calm[2].surprise)
    estimate = LogNormal(0, 0.5, 1)
    without, with_it = (
        conformal(estimate, [*calm[:2], last]) for last in (calm[2], Earlier(event, calm[2].block))
    )
    high = np.array([4.0, 8.0], np.float32)
    assert np.allclose(without.corrected(high), with_it.corrected(high), rtol=0.2)


def test_the_scale_is_monotone_bounded_and_kept() -> None:
    made = conformal(calibrate(np.exp(np.arange(1, 5)).astype(np.float32)), [field(1, 1.5)])
    scores = np.geomspace(1e-9, 1e30, 5000).astype(np.float32)
    surprise = made.surprise(scores)
    assert (np.diff(surprise) >= 0).all()
    assert ((surprise >= 0) & (surprise <= CEILING)).all()
    assert np.isnan(made.surprise(np.array([np.nan], np.float32)))[0]
    assert surprise.dtype == np.float32
    again = restore(json.loads(json.dumps(made.config())))
    assert again == made
    assert isinstance(again, Conformal)
    assert len(made.expected) <= 201
    beyond = made.corrected(np.array([made.expected[-1], made.expected[-1] + 1], np.float32))
    assert np.diff(beyond) == pytest.approx(made.slope, rel=1e-3)
    assert made.config()["extrapolated_beyond"] == pytest.approx(beyond[0])


def cycle(folder: Path, size: int = 160) -> tuple[JobSpec, NDArray[np.bool_]]:
    """Crops that come and go: the last date is a mixture of the others, which no two dates tell."""
    rng = np.random.default_rng(5)
    crops = [texture(seed, 3, size, size) for seed in (1, 2, 3)]
    shares = ([1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.4, 0.1])
    truth = np.zeros((size, size), dtype=bool)
    truth[40:52, 90:104] = True
    scenes = []
    for day, share in zip(DAYS, shares, strict=True):
        data = np.tensordot(share, crops, 1) + rng.normal(size=crops[0].shape) * 8
        if day == DAYS[-1]:
            data[:, truth] += np.array([40, -40, 40])[:, None]
        path = write_raster(folder / f"{day}.tif", data.astype(np.uint16), nodata=0)
        scenes.append(Scene(str(path), title=path.name))
    history = tuple(scenes[:-2])
    return JobSpec(
        Process.DETECT_CHANGE, tuple(scenes[-2:]), detector="history", history=history
    ), truth


@pytest.mark.usefixtures("little_training")
def test_a_forecast_sees_what_two_dates_cannot(tmp_path: Path, settings: Settings) -> None:
    spec, truth = cycle(tmp_path)
    check(spec, settings)
    forecast, result = work(spec, tmp_path / "forecast", settings)
    pair, _ = work(
        replace(spec, detector="rwr", history=(), anyway=True), tmp_path / "pair", settings
    )
    found, missed = (
        average_precision_score(truth.ravel(), each.ravel()) for each in (forecast, pair)
    )
    assert found > missed + 0.3
    assert "3 pairs" in result.summary["stac"]["geoanomaly:calibration"]
    for size in (32, 96):
        (tmp_path / str(size) / "scratch").mkdir(parents=True)
        model = tmp_path / str(size) / "scratch" / "model"
        model.symlink_to(tmp_path / "forecast" / "scratch" / "model")
        tiled, _ = work(replace(spec, tile_size=size), tmp_path / str(size), settings)
        assert np.abs(tiled - forecast).max() < 1e-4


def test_a_gap_of_one_date_is_filled_from_the_others(tmp_path: Path) -> None:
    spec, _ = place(tmp_path, size=160)
    gap = np.zeros((160, 160), dtype=bool)
    gap[100:130, 20:60] = True
    with rasterio.open(spec.history[0].href, "r+") as raster:
        whole = raster.read()
        raster.nodata = 0
        raster.write(whole * ~gap)
    stack = stacked(open_inputs(spec))
    earlier, last = stack.read(next(iter(stack.tiles(160, 0))))
    assert earlier.data.shape == (1, 12, 160, 160)
    assert last.data.shape == (1, 4, 160, 160)
    assert earlier.valid.all()
    (first,) = (n for n, each in enumerate(stack.scenes) if each.scene == spec.history[0])
    found = earlier.data[0, 4 * first : 4 * first + 4]
    assert np.array_equal(found[:, ~gap], whole[:, ~gap])
    # Gain and offset differ by date: the level is that of its own.
    missed = found[:, gap] - whole[:, gap].astype(float)
    spread = whole.reshape(4, -1).std(axis=1)
    assert (np.abs(missed.mean(axis=1)) < 0.2 * spread).all()
    assert (missed.std(axis=1) < 0.6 * spread).all()
    assert stack.setting.bands[0] == stack.setting.bands[1] * 3


def test_dates_are_read_from_names() -> None:
    def of(name: str, day: str | None = None) -> date | None:
        return acquired(Scene(f"/data/{name}", date=day))

    assert of("T35TLM_20200701T092031_B02.jp2") == date(2020, 7, 1)
    assert of("LC08_L2SP_183028_20190815_20200827_02_T1.tif") == date(2019, 8, 15)
    assert of("2016-10-14.tif") == date(2016, 10, 14)
    assert of("2016-10-14.tif", "2017-01-02T10:00:00Z") == date(2017, 1, 2)
    assert of("before.tif") is None
    assert of("20200631_12345678901.tif") is None


def test_the_likest_earlier_pairs_come_first() -> None:
    days = [date(2017, 8, 1), date(2018, 1, 10), date(2018, 8, 3), date(2019, 8, 2)]
    before, after = days[-1], date(2020, 8, 5)
    pairs = alike(days, before, after)
    assert set(pairs[:2]) == {(0, 2), (2, 3)}
    assert alike(days[::-1], before, after)[0] in ((3, 1), (1, 0))
    assert alike([*days[:-1], None], None, after) == [(2, 3), (1, 2), (0, 1)]
    starts, ends = zip(*pairs, strict=True)
    assert len(set(starts)) == len(starts)
    assert len(set(ends)) == len(ends)
