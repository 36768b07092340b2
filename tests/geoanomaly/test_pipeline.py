"""A job from its spec to its files: the same heatmap however it is cut, stopped or spread."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from xml.etree import ElementTree

import geopandas
import numpy as np
import pandas
import pystac
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.warp import transform_bounds
from shapely.geometry import box
from sklearn.metrics import average_precision_score, roc_auc_score

from geoanomaly.errors import JobCancelledError, TileError
from geoanomaly.pipeline import run
from geoanomaly.results.outputs import OUTPUTS
from geoanomaly.scenes import sampling
from geoanomaly.settings import Settings
from geoanomaly.types import AOI, JobSpec, Process, Progress, RunResult, Scene, silent
from tests.rasters import NORTH_UP, UTM, change_pair, texture, write_raster
from tiling.source import RasterSource

Pair = tuple[Path, Path, NDArray[np.bool_]]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return change_pair(tmp_path_factory.mktemp("pair"))


def change(pair: Pair | tuple[Path, Path], **options: object) -> JobSpec:
    scenes = tuple(Scene(str(path)) for path in pair[:2])
    return JobSpec(Process.DETECT_CHANGE, scenes, **{"detector": "rwr", **options})  # type: ignore[arg-type]


def work(spec: JobSpec, folder: Path, settings: Settings, report=silent) -> RunResult:
    return run(
        spec, out=folder / "out", scratch=folder / "scratch", settings=settings, report=report
    )


def heatmap(folder: Path) -> NDArray[np.float32]:
    with rasterio.open(folder / "out" / "heatmap.tif") as raster:
        return np.asarray(raster.read(1))


def digest(folder: Path, name: str = "heatmap.tif") -> str:
    return hashlib.sha256((folder / "out" / name).read_bytes()).hexdigest()


@pytest.mark.usefixtures("little_training")
@pytest.mark.parametrize("detector", ["rwr", "auto"])
def test_any_tile_size_gives_the_same_heatmap(
    pair: Pair, tmp_path: Path, settings: Settings, detector: str
) -> None:
    """The master test. The model is fitted once, as a restarted job would have it."""
    maps = {}
    for size in (1024, 64, 128, 256):
        folder = tmp_path / str(size)
        if size != 1024:
            (folder / "scratch").mkdir(parents=True)
            (folder / "scratch" / "model").symlink_to(tmp_path / "1024" / "scratch" / "model")
        work(change(pair, detector=detector, tile_size=size), folder, settings)
        maps[size] = heatmap(folder)
    for size, values in maps.items():
        assert np.abs(values - maps[1024]).max() < 1e-4, size
    truth = pair[2]
    assert average_precision_score(truth.ravel(), maps[64].ravel()) > 0.95
    assert roc_auc_score(truth.ravel(), maps[64].ravel()) > 0.99


def test_fitting_does_not_depend_on_the_tile_size(
    pair: Pair, tmp_path: Path, settings: Settings
) -> None:
    for size in (64, 128):
        work(change(pair, tile_size=size), tmp_path / str(size), settings)
    assert np.abs(heatmap(tmp_path / "64") - heatmap(tmp_path / "128")).max() < 1e-4


@pytest.fixture(scope="module")
def undisturbed(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    settings = Settings(data_dir=folder / "data", threads=2)
    work(change(pair, tile_size=64), folder, settings)
    return folder


def test_one_thread_gives_the_bytes_of_two(pair: Pair, tmp_path: Path, undisturbed: Path) -> None:
    work(change(pair, tile_size=64), tmp_path, Settings(data_dir=tmp_path, threads=1))
    for name in ("heatmap.tif", "mask.tif", "anomalies.geojson"):
        assert digest(tmp_path, name) == digest(undisturbed, name)


def test_another_seed_samples_otherwise(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the equal bytes of equal seeds would say nothing."""
    monkeypatch.setattr(sampling, "MAX_WINDOWS", 2)
    big = change_pair(tmp_path / "big", size=300, bands=1)
    for seed in (0, 1):
        work(change(big, seed=seed), tmp_path / str(seed), settings)
    assert digest(tmp_path / "0") != digest(tmp_path / "1")


@pytest.mark.service
def test_a_cluster_gives_the_bytes_of_threads(
    pair: Pair, tmp_path: Path, undisturbed: Path, scheduler: str
) -> None:
    settings = Settings(data_dir=tmp_path, dask_scheduler=scheduler)
    work(change(pair, tile_size=64), tmp_path, settings)
    assert digest(tmp_path) == digest(undisturbed)


def test_a_stopped_job_goes_on_from_its_finished_tiles(
    pair: Pair, tmp_path: Path, undisturbed: Path, settings: Settings
) -> None:
    seen: list[Progress] = []

    def stop(progress: Progress) -> None:
        seen.append(progress)
        if progress.message.startswith("5 of 9"):
            raise JobCancelledError("enough")

    with pytest.raises(JobCancelledError):
        work(change(pair, tile_size=64), tmp_path, settings, stop)
    assert not (tmp_path / "out").exists()
    again: list[Progress] = []
    work(change(pair, tile_size=64), tmp_path, settings, again.append)
    first = next(each for each in again if each.stage == "scoring")
    assert int(first.message.split()[0]) >= 5
    assert not any(each.stage == "fitting" for each in again)
    assert digest(tmp_path) == digest(undisturbed)


def test_progress_never_falls(pair: Pair, tmp_path: Path, settings: Settings) -> None:
    seen: list[Progress] = []
    work(change(pair, tile_size=64), tmp_path, settings, seen.append)
    percents = [each.percent for each in seen]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert {"reading", "scoring", "writing", "done"} <= {each.stage for each in seen}


def test_outputs_are_complete_and_agree(pair: Pair, undisturbed: Path) -> None:
    out = undisturbed / "out"
    assert sorted(path.name for path in out.iterdir()) == sorted(OUTPUTS)
    with rasterio.open(out / "heatmap.tif") as scores, rasterio.open(out / "mask.tif") as mask:
        with rasterio.open(pair[1]) as after:
            assert (scores.crs, scores.transform, scores.shape) == (
                after.crs,
                after.transform,
                after.shape,
            )
        assert np.isnan(scores.nodata)
        values, above = scores.read(1), mask.read(1)
        assert float(scores.tags()["GEOANOMALY_THRESHOLD"]) == 2.0
    assert np.array_equal(above == 1, values >= 2.0)
    report = json.loads((out / "run.json").read_text())
    assert report["inputs"][1]["sha256"] == hashlib.sha256(pair[1].read_bytes()).hexdigest()
    assert report["threshold"]["expected_false_alarm_pixels_per_km2"] == pytest.approx(
        100, rel=0.01
    )
    assert "estimate" in report["model"]["calibration_kind"]
    assert ElementTree.parse(out / "heatmap.qml").getroot().tag == "qgis"
    item = pystac.Item.from_file(str(out / "item.json"))
    assert item.assets["heatmap"].href.endswith("heatmap.tif")
    assert box(*item.bbox).is_valid
    with rasterio.open(out / "preview.png") as picture:
        assert min(picture.shape) > 200


def test_anomalies_say_where_how_large_and_how_strange(pair: Pair, undisturbed: Path) -> None:
    out, truth = undisturbed / "out", pair[2]
    frame = geopandas.read_file(out / "anomalies.gpkg")
    assert frame.crs.to_string() == UTM
    first = frame.iloc[0]
    rows, cols = truth.nonzero()
    left, top = NORTH_UP @ (cols.min(), rows.min())
    right, bottom = NORTH_UP @ (cols.max() + 1, rows.max() + 1)
    planted = box(left, bottom, right, top)
    assert first.geometry.intersection(planted).area / planted.area > 0.9
    # UTM is within 0.1 % of the ellipsoid here.
    assert first.area_m2 == pytest.approx(first.geometry.area, rel=2e-3)
    assert first.area_m2 == pytest.approx(first.pixels * 100, rel=2e-3)
    assert first.peak >= first["mean"] >= 2.0
    assert (first.minx, first.maxy) == (first.geometry.bounds[0], first.geometry.bounds[3])
    lonlat = geopandas.read_file(out / "anomalies.geojson")
    assert lonlat.crs.to_epsg() == 4326
    assert len(lonlat) == len(frame)
    assert transform_bounds(UTM, "EPSG:4326", *frame.total_bounds) == pytest.approx(
        tuple(lonlat.total_bounds), abs=1e-5
    )


def test_an_area_in_another_crs_clips_job_and_output(
    pair: Pair, tmp_path: Path, settings: Settings
) -> None:
    left, bottom, right, top = transform_bounds(
        UTM, "EPSG:4326", 500_400, 5_398_500, 501_500, 5_399_700
    )
    triangle = box(left, bottom, right, top).difference(
        box(left, bottom, (left + right) / 2, (bottom + top) / 2)
    )
    work(change(pair, aoi=AOI(triangle)), tmp_path, settings)
    with rasterio.open(tmp_path / "out" / "heatmap.tif") as raster:
        values = raster.read(1)
        assert raster.shape < (192, 192)
        assert transform_bounds(raster.crs, "EPSG:4326", *raster.bounds) == pytest.approx(
            triangle.bounds, abs=4e-4
        )
        # The corner that was cut out of the rectangle.
        assert np.isnan(values[-20:, :20]).all()
        assert np.isfinite(values[3:20, -20:-3]).all()


def test_nodata_stripes_stay_nan_and_raise_no_anomaly(tmp_path: Path, settings: Settings) -> None:
    before, after, truth = change_pair(tmp_path / "pair", dtype="float32")
    with rasterio.open(after, "r+") as raster:
        data = raster.read()
        data[:, 100:104] = np.nan
        data[1, :, 30] = np.nan
        raster.write(data)
    work(change((before, after)), tmp_path, settings)
    values = heatmap(tmp_path)
    missing = np.zeros_like(truth)
    missing[100:104] = True
    missing[:, 30] = True
    assert np.array_equal(np.isnan(values), missing)
    beside = np.zeros_like(truth)
    beside[95:109] = beside[:, 26:35] = True
    normal = ~truth & ~missing
    assert np.mean(values[normal & beside] >= 2) < np.mean(values[normal] >= 2) + 0.01


def test_what_is_known_to_have_no_data_is_passed_over_and_changes_nothing(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = texture(1, 3, 256, 320) + 1
    data[:, :128, 64:] = 0
    options = {"tiled": True, "blockxsize": 64, "blockysize": 64, "SPARSE_OK": True}
    scene = write_raster(tmp_path / "scene.tif", data, nodata=0, **options)
    said: list[str] = []

    def listen(progress: Progress) -> None:
        said.append(progress.message)

    spec = JobSpec(Process.DETECT_ANOMALY, (Scene(str(scene)),), detector="rx", tile_size=64)
    work(spec, tmp_path / "passed", settings, listen)
    assert any(message.startswith("12 of 12 tiles") for message in said)
    monkeypatch.setattr(RasterSource, "absent", lambda *_: False)
    work(spec, tmp_path / "all", settings, listen)
    assert any(message.startswith("20 of 20 tiles") for message in said)
    assert np.isnan(heatmap(tmp_path / "passed")[:128, 64:]).all()
    for name in ("heatmap.tif", "mask.tif", "anomalies.geojson", "preview.png"):
        assert digest(tmp_path / "passed", name) == digest(tmp_path / "all", name)


def test_a_pair_without_crs_is_compared_pixel_by_pixel(tmp_path: Path, settings: Settings) -> None:
    before, after, truth = change_pair(tmp_path / "pair")
    bare = []
    for path in (before, after):
        with rasterio.open(path) as raster:
            bare.append(write_raster(tmp_path / f"bare-{path.name}", raster.read(), crs=None))
    result = work(change((bare[0], bare[1])), tmp_path, settings)
    assert average_precision_score(truth.ravel(), heatmap(tmp_path).ravel()) > 0.95
    assert "No CRS" in " ".join(result.summary["notes"])
    report = json.loads((tmp_path / "out" / "run.json").read_text())
    assert report["threshold"]["expected_false_alarm_pixels_per_km2"] is None
    first = geopandas.read_file(tmp_path / "out" / "anomalies.geojson").iloc[0]
    assert pandas.isna(first.area_m2)
    assert pystac.Item.from_file(str(tmp_path / "out" / "item.json")).geometry is None


def test_band_counts_may_differ(tmp_path: Path, settings: Settings) -> None:
    before, after, truth = change_pair(tmp_path / "pair")
    with rasterio.open(before) as raster:
        fewer = write_raster(tmp_path / "fewer.tif", raster.read([1, 3]))
    work(change((fewer, after)), tmp_path, settings)
    assert roc_auc_score(truth.ravel(), heatmap(tmp_path).ravel()) > 0.9


def test_another_grid_is_resampled_and_reported(tmp_path: Path, settings: Settings) -> None:
    before, after, truth = change_pair(tmp_path / "pair")
    with rasterio.open(before) as raster:
        data = raster.read()
    coarse = data[:, ::2, ::2] // 2 + data[:, 1::2, 1::2] // 2
    from rasterio.transform import Affine

    path = write_raster(tmp_path / "coarse.tif", coarse, transform=NORTH_UP * Affine.scale(2, 2))
    result = work(change((path, after)), tmp_path, settings)
    assert "resampled" in " ".join(result.summary["notes"])
    assert heatmap(tmp_path).shape == truth.shape
    assert roc_auc_score(truth.ravel(), np.nan_to_num(heatmap(tmp_path)).ravel()) > 0.9


@pytest.mark.parametrize(("gain", "offset"), [(1, 1000), (1.3, 0)])
def test_gain_and_offset_change_no_ranking(
    tmp_path: Path, settings: Settings, gain: float, offset: float
) -> None:
    before, after, _ = change_pair(tmp_path / "pair", dtype="float32")
    with rasterio.open(after) as raster:
        other = write_raster(
            tmp_path / "other.tif", (raster.read() * gain + offset).astype(np.float32)
        )
    work(change((before, after)), tmp_path / "a", settings)
    work(change((before, other)), tmp_path / "b", settings)
    assert np.abs(heatmap(tmp_path / "a") - heatmap(tmp_path / "b")).max() < 0.02


def test_a_constant_scene_has_no_seams(tmp_path: Path, settings: Settings) -> None:
    flat = np.full((3, 200, 200), 500, np.uint16)
    before = write_raster(tmp_path / "before.tif", flat)
    after = write_raster(tmp_path / "after.tif", flat + 100)
    work(change((before, after), tile_size=64), tmp_path, settings)
    assert np.ptp(heatmap(tmp_path)) < 1e-4


def test_a_tile_that_cannot_be_read_fails_the_job_by_name(
    tmp_path: Path, settings: Settings
) -> None:
    before, after, _ = change_pair(tmp_path / "pair", size=256)
    spec = change((before, after), tile_size=64)

    def vanish(progress: Progress) -> None:
        if progress.stage == "scoring" and before.exists():
            before.unlink()

    with pytest.raises(TileError, match=r"tile \(\d, \d\) \(rows .*before\.tif"):
        work(spec, tmp_path, settings, vanish)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("little_training")
def test_what_is_unusual_in_one_scene(tmp_path: Path, settings: Settings) -> None:
    ground = texture(5, 4, 200, 200)
    truth = np.zeros((200, 200), dtype=bool)
    truth[60:72, 120:130] = True
    ground[:, truth] = ground[::-1][:, truth] + np.array([[150], [-120], [90], [-140]], np.float32)
    scene = write_raster(tmp_path / "scene.tif", ground)
    spec = JobSpec(Process.DETECT_ANOMALY, (Scene(str(scene)),))
    for name in ("vae", "rx"):
        work(JobSpec(**{**vars(spec), "detector": name}), tmp_path / name, settings)
        scores = heatmap(tmp_path / name)
        assert roc_auc_score(truth.ravel(), scores.ravel()) > 0.97, name
