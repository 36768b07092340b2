"""A request before it is accepted: what is refused, in which words, and what a good one costs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import LineString, Polygon, box

from geoanomaly.calibration import LogNormal
from geoanomaly.detectors.base import FitOptions
from geoanomaly.detectors.rx import RX
from geoanomaly.errors import (
    AreaError,
    CrossingAreaError,
    InputError,
    NotFoundError,
    ParameterError,
    SceneError,
    UnknownModelError,
)
from geoanomaly.intake.check import check
from geoanomaly.models import make_model, save_model
from geoanomaly.scenes.inputs import MIN_VALID_PIXELS, Inputs, open_normal
from geoanomaly.scenes.sampling import draw
from geoanomaly.settings import Settings
from geoanomaly.types import AOI, JobSpec, Process, Scene, silent
from tests.rasters import NORTH_UP, UTM, texture, write_raster

SIZE = 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Scenes by name; the settings' data folder is another one."""
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    data = texture(0, 3, SIZE, SIZE).astype(np.uint16)
    for name in ("before", "after"):
        write_raster(scenes / f"{name}.tif", data)
    write_raster(scenes / "bare.tif", data, crs=None)
    write_raster(scenes / "bare-small.tif", data[:, :90], crs=None)
    write_raster(scenes / "elsewhere.tif", data, transform=NORTH_UP * NORTH_UP.translation(500, 0))
    write_raster(scenes / "empty.tif", np.zeros_like(data), nodata=0)
    sparse = np.zeros_like(data)
    sparse[:, :9, :9] = 5
    write_raster(scenes / "sparse.tif", sparse, nodata=0)
    write_raster(scenes / "left.tif", np.where(np.arange(SIZE) < 50, data, 0), nodata=0)
    write_raster(scenes / "right.tif", np.where(np.arange(SIZE) < 50, 0, data), nodata=0)
    write_raster(scenes / "complex.tif", data.astype(np.complex64))
    whole = (scenes / "after.tif").read_bytes()
    (scenes / "cut.tif").write_bytes(whole[: len(whole) // 2])
    (scenes / "notes.tif").write_text("not a raster")
    return scenes


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(folder: Path, tmp_path: Path) -> Iterator[None]:
    """A refused request, and an accepted one, must not write a file, not even a sidecar."""
    yield
    assert {path.suffix for path in folder.iterdir()} == {".tif"}
    assert not [path for path in tmp_path.glob("data/*") if path.name != "models"]


def change(folder: Path, before: str = "before", after: str = "after", **options: Any) -> JobSpec:
    scenes = tuple(Scene(str(folder / f"{name}.tif")) for name in (before, after))
    return JobSpec(Process.DETECT_CHANGE, scenes, **options)


def single(folder: Path, scene: str = "after", **options: Any) -> JobSpec:
    return JobSpec(Process.DETECT_ANOMALY, (Scene(str(folder / f"{scene}.tif")),), **options)


def train(folder: Path, *scenes: str, **options: Any) -> JobSpec:
    found = tuple(Scene(str(folder / f"{name}.tif")) for name in scenes)
    return JobSpec(Process.TRAIN_MODEL, found, **{"name": "m", **options})


def refused(
    spec: JobSpec, settings: Settings, kind: type[InputError], field: str, match: str
) -> None:
    with pytest.raises(kind, match=match) as caught:
        check(spec, settings)
    assert type(caught.value) is kind
    assert caught.value.field == field


BAD_SCENES = [
    ("nowhere", r"There is no file .*nowhere\.tif"),
    ("notes", r"notes\.tif cannot be opened as a raster"),
    ("cut", r"cut\.tif is truncated: its blocks reach to byte [\d,]+, it ends at .*again"),
    ("complex", r"complex\.tif has complex pixels \(complex64\)\. Give amplitude"),
    ("empty", rf"empty\.tif: 0 of 10,000 pixels are valid, at least {MIN_VALID_PIXELS:,}.*Check"),
    ("sparse", r"sparse\.tif: 81 of 10,000 pixels are valid.*choose other scenes"),
]


@pytest.mark.parametrize(("name", "match"), BAD_SCENES)
def test_a_bad_scene_is_named_wherever_it_stands(
    folder: Path, settings: Settings, name: str, match: str
) -> None:
    refused(change(folder, before=name), settings, SceneError, "before", match)
    refused(change(folder, after=name), settings, SceneError, "after", match)
    refused(single(folder, name), settings, SceneError, "scene", match)
    refused(train(folder, "after", name), settings, SceneError, "scenes", match)


BAD_AREAS = [
    (AOI(Polygon([(15, 48), (15.1, 48.1), (15.1, 48), (15, 48.1)])), r"\[15\.05 48\.05\].*edge"),
    (AOI(Polygon()), "empty. Give a polygon"),
    (AOI(LineString([(15, 48), (16, 49)])), "a LineString. Give a Polygon"),
    (AOI(box(500_000, 0, 500_100, 1)), r"500000,0 .*outside \+-180.*longitude before latitude"),
    (AOI(box(15, 48, 16, 49), "EPSG:32699"), "'EPSG:32699' is not a CRS. Use for instance"),
]


@pytest.mark.parametrize(("area", "match"), BAD_AREAS)
def test_a_bad_area_is_refused_before_any_file_is_opened(
    folder: Path, settings: Settings, area: AOI, match: str
) -> None:
    kind = CrossingAreaError if "edge" in match else AreaError
    refused(change(folder, after="nowhere", aoi=area), settings, kind, "aoi", match)
    refused(train(folder, "nowhere", exclude=area), settings, kind, "exclude", match)


def test_an_area_outside_says_where_both_are(folder: Path, settings: Settings) -> None:
    outside = AOI(box(500_000, 5_500_000, 500_500, 5_500_500), UTM)
    match = r"\(500000\.0, 5500000\.0.*no pixel.*\(500000\.0, 5399000\.0.*EPSG:32633.*Move"
    for spec in (change(folder), single(folder), train(folder, "after")):
        refused(replace(spec, aoi=outside), settings, AreaError, "aoi", match)


def test_an_area_needs_a_crs(folder: Path, settings: Settings) -> None:
    area = AOI(box(14, 48, 16, 49))
    match = r"no CRS, so an area cannot.*gdal_edit\.py -a_srs.*leave the area out"
    refused(single(folder, "bare", aoi=area), settings, SceneError, "scene", match)
    refused(change(folder, "bare", "bare", aoi=area), settings, SceneError, "after", match)
    refused(train(folder, "bare", aoi=area), settings, SceneError, "scenes", match)


def test_polygons_to_leave_out_need_a_crs(folder: Path, settings: Settings) -> None:
    """Without one they would be left in, in silence."""
    spec = train(folder, "after", "bare", exclude=AOI(box(14, 48, 16, 49)))
    refused(spec, settings, SceneError, "scenes", r"bare\.tif has no CRS.*gdal_edit")


def test_pairs_that_do_not_fit(folder: Path, settings: Settings) -> None:
    refused(
        change(folder, before="elsewhere"), settings, SceneError, "before",
        r"do not overlap: before covers 15\.06.*after covers 15\.0.*one place",
    )  # fmt: skip
    refused(
        change(folder, "bare-small", "bare"), settings, SceneError, "before",
        r"100 x 90, the after scene 100 x 100.*neither scene has CRS",
    )  # fmt: skip
    refused(
        change(folder, "left", "right"), settings, SceneError, "after",
        r"left\.tif and .*right\.tif: 0 of 10,000 pixels are valid in both scenes",
    )  # fmt: skip


def test_bands_that_a_named_sensor_does_not_have(folder: Path, settings: Settings) -> None:
    match = r"3 bands are no layout of rgbn \(known: 4: red green blue nir\).*generic"
    refused(change(folder, sensor="rgbn"), settings, SceneError, "before", match)
    refused(single(folder, sensor="rgbn"), settings, SceneError, "scene", match)


def test_a_scenes_own_sensor_goes_before_the_requests(folder: Path, settings: Settings) -> None:
    path = str(folder / "after.tif")
    scenes = (Scene(path, sensor="rgb"), Scene(path))
    assert check(JobSpec(Process.DETECT_CHANGE, scenes), settings).sensor == "generic"
    spec = JobSpec(Process.DETECT_CHANGE, scenes, sensor="rgbn")
    refused(spec, settings, SceneError, "after", "no layout of rgbn")


BAD_VALUES: list[tuple[dict[str, Any], str, str]] = [
    ({"sensor": "spot"}, "sensor", r"'spot' is not a sensor\. Known: sentinel-2-l2a"),
    ({"detector": "magic"}, "detector", r"'magic' is not a detector\. Known: .*rx"),
    ({"false_alarm_rate": 0.0}, "false_alarm_rate", r"is 0, it must lie in 1e-6 to 0\.5"),
    ({"false_alarm_rate": 0.51}, "false_alarm_rate", r"is 0\.51, .* \(0\.01 = one normal pixel"),
    ({"false_alarm_rate": float("nan")}, "false_alarm_rate", "is nan"),
    ({"tile_size": 31}, "tile_size", "is 31, it must be a multiple of 32 in 32 to 4096 pixels"),
    ({"tile_size": 4097}, "tile_size", "is 4097"),
    ({"seed": -1}, "seed", "is -1, it must lie in 0 to"),
    ({"seed": 2**63}, "seed", r"is 9223372036854775808, it must lie"),
]


@pytest.mark.parametrize(("values", "field", "match"), BAD_VALUES)
def test_names_and_numbers_out_of_range(
    folder: Path, settings: Settings, values: dict[str, Any], field: str, match: str
) -> None:
    for spec in (change(folder), single(folder), train(folder, "after")):
        refused(replace(spec, **values), settings, ParameterError, field, match)


@pytest.mark.parametrize(
    "values",
    [
        {"false_alarm_rate": 1e-6},
        {"false_alarm_rate": 0.5},
        {"tile_size": 32},
        {"tile_size": 4096},
        {"seed": 2**63 - 1},
    ],
)
def test_the_limits_themselves_are_allowed(
    folder: Path, settings: Settings, values: dict[str, Any]
) -> None:
    assert check(change(folder, **values), settings).pixels == SIZE**2


def test_a_detector_of_the_other_process(folder: Path, settings: Settings) -> None:
    refused(
        change(folder, detector="rx"), settings, ParameterError, "detector",
        r"'rx' does not serve detect-change\. Choose from: auto, cvae, rwr",
    )  # fmt: skip
    for spec in (single(folder, detector="cvae"), train(folder, "after", detector="rwr")):
        refused(spec, settings, ParameterError, "detector", r"Choose from: auto, vae")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_pair_is_two_scenes(folder: Path, settings: Settings, count: int) -> None:
    spec = replace(change(folder), scenes=(Scene(str(folder / "after.tif")),) * count)
    match = f"detect-change takes before and after, {count} scenes were given"
    refused(spec, settings, ParameterError, "after", match)


@pytest.mark.parametrize("count", [0, 2])
def test_a_single_scene_is_one(folder: Path, settings: Settings, count: int) -> None:
    spec = replace(single(folder), scenes=(Scene(str(folder / "after.tif")),) * count)
    refused(spec, settings, ParameterError, "scene", f"takes scene, {count} scenes were given")


def test_training_needs_scenes_and_a_name(folder: Path, settings: Settings) -> None:
    refused(train(folder), settings, ParameterError, "scenes", "at least one scene")
    for name in (None, "", "../up", ".hidden", "a b", "x" * 65, "a/b", "a\n"):
        spec = train(folder, "after", name=name)
        refused(spec, settings, ParameterError, "name", "is no model name: letters, digits")
    assert check(train(folder, "after", name="x" * 64), settings)


def test_models_that_do_not_exist(folder: Path, settings: Settings) -> None:
    for name in ("nothing", "../models", "", "."):
        with pytest.raises(UnknownModelError, match=r"There is no model .*geoanomaly train") as e:
            check(single(folder, model=name), settings)
        assert isinstance(e.value, NotFoundError)


@pytest.fixture
def model(folder: Path, settings: Settings) -> str:
    """A trained model of three generic bands."""
    inputs = open_normal(Scene(str(folder / "after.tif")), None, None)
    sample = draw(inputs, halo=RX.halo(inputs.setting), seed=0, report=silent)
    detector = RX.fit(sample, FitOptions(inputs.setting, 0, silent))
    made = make_model(
        detector,
        LogNormal(0.0, 1.0, 1),
        name="forest",
        family="rx",
        sensor="generic",
        bands=inputs.scenes[0].band_names,
        trained_on=("after.tif",),
        seed=0,
    )
    save_model(made, settings.models_dir / "forest")
    return "forest"


def test_a_model_must_fit_the_scene(folder: Path, settings: Settings, model: str) -> None:
    assert check(single(folder, model=model), settings).sensor == "generic"
    refused(
        single(folder, model=model, sensor="rgb"), settings, SceneError, "sensor",
        r"taken as rgb, model 'forest' was trained on generic",
    )  # fmt: skip
    write_raster(folder / "two.tif", texture(0, 2, SIZE, SIZE))
    refused(
        single(folder, "two", model=model), settings, SceneError, "scene",
        r"two\.tif has 2 bands .*'forest' was trained on 3 .*another model",
    )  # fmt: skip
    refused(
        change(folder, model=model), settings, ParameterError, "model",
        "scores a single scene: use detect-anomaly",
    )  # fmt: skip
    with pytest.raises(UnknownModelError, match=r"models here: forest"):
        check(single(folder, model="oak"), settings)


def test_too_many_pixels_are_refused_before_they_are_read(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("pixels were read")

    monkeypatch.setattr(Inputs, "read", never)
    small = settings.model_copy(update={"max_pixels": SIZE**2 - 1})
    match = r"covers 10,000 pixels, the limit is 9,999 \(GEOANOMALY_MAX_PIXELS\).*smaller area"
    refused(change(folder), small, ParameterError, "aoi", match)
    refused(train(folder, "after", "before"), small, ParameterError, "aoi", "covers 20,000 pixels")


def test_the_area_counts_and_not_the_scene(folder: Path, settings: Settings) -> None:
    area = AOI(box(500_100, 5_399_300, 500_500, 5_399_900), UTM)
    small = settings.model_copy(update={"max_pixels": 2400})
    price = check(change(folder, aoi=area, tile_size=32), small)
    assert (price.pixels, price.shape, price.tiles) == (2400, (60, 40), 4)


@pytest.mark.parametrize(("size", "tiles"), [(None, 1), (128, 1), (96, 4), (64, 4), (32, 16)])
def test_a_price(folder: Path, settings: Settings, size: int | None, tiles: int) -> None:
    price = check(change(folder, tile_size=size), settings)
    assert (price.pixels, price.shape, price.tiles) == (SIZE**2, (SIZE, SIZE), tiles)
    assert price.sensor == "generic"


def test_guesses_are_said(folder: Path, settings: Settings) -> None:
    assert check(change(folder), settings).notes == (
        "before.tif: 3 bands, taken as generic.",
        "after.tif: 3 bands, taken as generic.",
    )
    assert check(change(folder, sensor="rgb"), settings).notes == ()
    assert check(train(folder, "after", "bare"), settings).notes[1].startswith("bare.tif")


def test_what_was_done_for_a_pair_is_said(folder: Path, settings: Settings) -> None:
    grid = NORTH_UP * NORTH_UP.scale(2)
    write_raster(folder / "coarse.tif", texture(1, 3, 50, 50), transform=grid)
    notes = check(change(folder, before="coarse", sensor="generic"), settings).notes
    assert notes == (
        "The before scene (50 x 50 px of 20, EPSG:32633) was resampled bilinearly to the after "
        "scene's grid (100 x 100 px of 10, EPSG:32633); it covers 100% of it.",
    )
    notes = check(change(folder, before="bare", sensor="generic"), settings).notes
    assert notes == ("Only one scene has a CRS: their pixels are taken to lie on one grid.",)
    notes = check(change(folder, "bare", "bare", sensor="generic"), settings).notes
    assert notes == ("No CRS: the scenes are compared pixel by pixel.",)


def test_a_price_of_training(folder: Path, settings: Settings) -> None:
    price = check(train(folder, "before", "after", detector="rx"), settings)
    assert price.pixels == 2 * SIZE**2


def test_checking_needs_no_torch() -> None:
    """The web process checks requests, and must stay small."""
    code = "import sys, geoanomaly.intake.check; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
