"""Dates that can be compared, dates that cannot, and what is said of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from geoanomaly.cli import main
from geoanomaly.errors import IncomparableError, JobCancelledError
from geoanomaly.pairs.comparability import (
    MAX_WINDOWS,
    WINDOW,
    Comparability,
    Evidence,
    Verdict,
    compared,
    judge,
    measure,
)
from geoanomaly.pairs.registration import Misregistration
from geoanomaly.pipeline import run
from geoanomaly.scenes.inputs import Inputs, open_inputs
from geoanomaly.settings import Settings
from geoanomaly.synthetic import generate
from geoanomaly.types import AOI, JobSpec, Process, Progress, Scene, silent
from tests.rasters import change_pair, texture, write_raster
from tiling.types import Tile, TileBatch

Pair = tuple[Path, Path]


def change(before: Path, after: Path, **options: object) -> JobSpec:
    scenes = Scene(str(before), title=before.name), Scene(str(after), title=after.name)
    return JobSpec(Process.DETECT_CHANGE, scenes, **{"detector": "rwr", **options})  # type: ignore[arg-type]


def verdict(before: Path, after: Path, **options: object) -> Comparability:
    return judge(measure(open_inputs(change(before, after, **options)), 0))


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Pair]:
    """Two generated places, two dates each."""
    made = (generate(tmp_path_factory.mktemp("place"), size=256, seed=seed) for seed in (0, 1))
    first, second = ((pair.before, pair.after) for pair in made)
    return first, second


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, NDArray[np.bool_]]:
    return change_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After another place than that of `pair`, on the same grid."""
    return change_pair(tmp_path_factory.mktemp("elsewhere"), seed=7)[1]


# The verdict.


def test_two_dates_of_a_place_are_comparable(places: tuple[Pair, Pair]) -> None:
    for before, after in places:
        found = verdict(before, after)
        assert (found.verdict, found.reasons, found.notes) == (Verdict.COMPARABLE, (), ())
        assert found.evidence.explained is not None
        assert found.evidence.chance is not None
        assert found.evidence.explained > 10 * found.evidence.chance


def test_two_places_are_not(places: tuple[Pair, Pair]) -> None:
    (before, _), (_, after) = places
    for first, second in ((before, after), (after, before)):
        assert verdict(first, second).verdict is Verdict.INCOMPARABLE


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [100, 128, 300])
def test_of_one_place_or_of_two_at_any_size(tmp_path: Path, seed: int, size: int) -> None:
    before, after, _ = change_pair(tmp_path / "a", seed=seed, size=size, bands=3)
    _, other, _ = change_pair(tmp_path / "b", seed=seed + 100, size=size, bands=2)
    assert verdict(before, after).verdict is Verdict.COMPARABLE
    assert verdict(before, other).verdict is Verdict.INCOMPARABLE


def test_too_few_pixels_refuse_nothing(tmp_path: Path) -> None:
    before = write_raster(tmp_path / "before.tif", texture(0, 3, 60, 60))
    after = write_raster(tmp_path / "after.tif", texture(1, 3, 60, 60))
    assert verdict(before, after).verdict is Verdict.DOUBTFUL


def test_a_small_area_is_judged_by_what_lies_around_it(places: tuple[Pair, Pair]) -> None:
    (before, after), (_, other) = places
    with rasterio.open(after) as raster:
        left, bottom, right, top = raster.window_bounds(rasterio.windows.Window(100, 90, 40, 40))
        crs = raster.crs.to_string()
    from shapely.geometry import box

    area = AOI(box(left, bottom, right, top), crs)
    assert verdict(before, after, aoi=area).verdict is Verdict.COMPARABLE
    assert verdict(before, other, aoi=area).verdict is Verdict.INCOMPARABLE


def test_much_change_is_still_comparable_and_all_change_is_not(tmp_path: Path) -> None:
    before, after, _ = change_pair(tmp_path / "pair", size=400)
    with rasterio.open(after) as raster:
        data = raster.read()
    verdicts = []
    for share in (0.5, 1.0):
        changed = data.copy()
        rows = int(share * 400)
        changed[:, :rows] = texture(99, 4, rows, 400).astype(data.dtype)
        verdicts.append(verdict(before, write_raster(tmp_path / "changed.tif", changed)))
    assert verdicts[0].verdict is not Verdict.INCOMPARABLE
    assert verdicts[1].verdict is Verdict.INCOMPARABLE


def test_uniform_scenes_raise_doubt_not_an_error(tmp_path: Path) -> None:
    flat = np.full((3, 200, 200), 500, np.uint16)
    before = write_raster(tmp_path / "before.tif", flat)
    found = verdict(before, write_raster(tmp_path / "after.tif", flat + 100))
    assert found.verdict is Verdict.DOUBTFUL
    assert "no structure" in found.reasons[0]


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.02, Verdict.INCOMPARABLE), (0.12, Verdict.DOUBTFUL), (0.3, Verdict.COMPARABLE)],
)
def test_the_share_of_pixels_that_both_dates_have(
    tmp_path: Path, share: float, expected: Verdict
) -> None:
    before, after, _ = change_pair(tmp_path / "pair", size=600)
    cloud = np.ones((1, 600, 600), np.uint8)
    cloud[:, : int(600 * share)] = 0
    scenes = Scene(str(before), mask=Scene(str(write_raster(tmp_path / "m.tif", cloud))))
    found = judge(
        measure(open_inputs(replace(change(before, after), scenes=(scenes, Scene(str(after))))), 0)
    )
    assert found.evidence.valid_share == pytest.approx(share, abs=0.002)
    assert found.verdict is expected
    if expected is not Verdict.COMPARABLE:
        assert "valid at both dates" in found.reasons[0]


def test_every_reason_is_told_and_the_worst_counts() -> None:
    shift = Misregistration(0.0, 3.0, 0.9, 16, True, {"unmoved": 0.5, "moved": 0.5})
    evidence = Evidence(0.1, 50_000, 0.01, 0.02, shift)
    found = judge(evidence)
    assert found.verdict is Verdict.INCOMPARABLE
    assert len(found.reasons) == 3
    assert judge(replace(evidence, explained=0.03)).verdict is Verdict.DOUBTFUL
    good = Evidence(1.0, 50_000, 0.3, 0.02)
    assert judge(good) == Comparability(Verdict.COMPARABLE, (), good)


@pytest.mark.parametrize("size", [1200, 2400])
def test_its_cost_does_not_grow_with_the_scene(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows that are read, counted: seconds would depend on the machine."""
    before, after, _ = change_pair(tmp_path, size=size, bands=1)
    reads: list[Tile] = []
    read = Inputs.read

    def counted(inputs: Inputs, tile: Tile) -> tuple[TileBatch, ...]:
        reads.append(tile)
        return read(inputs, tile)

    monkeypatch.setattr(Inputs, "read", counted)
    assert verdict(before, after).verdict is Verdict.COMPARABLE
    assert len(reads) == MAX_WINDOWS
    assert max(tile.geobox.shape[0] for tile in reads) == WINDOW


# The job.


def work(spec: JobSpec, folder: Path, settings: Settings, report=silent) -> dict[str, object]:
    done = run(
        spec, out=folder / "out", scratch=folder / "scratch", settings=settings, report=report
    )
    return dict(done.summary)


def heatmap(folder: Path) -> NDArray[np.float32]:
    with rasterio.open(folder / "out" / "heatmap.tif") as raster:
        return np.asarray(raster.read(1))


def test_another_place_ends_the_job(
    pair: tuple[Path, Path, NDArray[np.bool_]], elsewhere: Path, tmp_path: Path, settings: Settings
) -> None:
    with pytest.raises(IncomparableError, match=r"before.tif and after.tif.*chance.*--anyway") as e:
        work(change(pair[0], elsewhere), tmp_path, settings)
    assert e.value.field == "before"
    assert not list(tmp_path.rglob("*.*")), "nothing is left behind"


def test_anyway_gives_the_map_and_says_that_it_is_doubtful(
    pair: tuple[Path, Path, NDArray[np.bool_]], elsewhere: Path, tmp_path: Path, settings: Settings
) -> None:
    seen: list[Progress] = []
    plain = work(change(*pair[:2]), tmp_path / "plain", settings)
    summary = work(
        change(pair[0], elsewhere, anyway=True), tmp_path / "anyway", settings, seen.append
    )
    out = tmp_path / "anyway" / "out"
    report = json.loads((out / "run.json").read_text())
    assert report["comparability"] == summary["comparability"]
    assert report["comparability"]["verdict"] == "doubtful"
    assert report["comparability"]["explained"]["ratio"] < 1
    (reason,) = report["comparability"]["reasons"]
    assert "by chance" in reason or "chance gives" in reason
    item = pystac.Item.from_file(str(out / "item.json"))
    assert item.properties["geoanomaly:comparability"] == "doubtful"
    assert item.properties["geoanomaly:comparability_reasons"] == [reason]
    assert f"Doubtful: {reason}" in seen[-1].message
    assert plain["comparability"]["verdict"] == "comparable"  # type: ignore[index]
    assert _red(out / "preview.png") > _red(tmp_path / "plain" / "out" / "preview.png") + 100


def _red(picture: Path) -> int:
    """Pixels in the colour of the caution."""
    with rasterio.open(picture) as raster:
        red, green, blue = raster.read([1, 2, 3]).astype(int)
    return int(((abs(red - 0xB0) < 8) & (green < 8) & (abs(blue - 0x20) < 8)).sum())


@pytest.mark.parametrize("crs", [True, False])
def test_a_pixel_of_shift_is_mended(tmp_path: Path, settings: Settings, crs: bool) -> None:
    before, after, truth = change_pair(tmp_path / "pair", size=256)
    paths = []
    for path, by in ((before, 1), (after, 0)):
        with rasterio.open(path) as raster:
            moved = np.roll(raster.read(), (by, by), (1, 2))
        options = {} if crs else {"crs": None}
        paths.append(write_raster(tmp_path / path.name, moved, **options))
    summary = work(change(*paths), tmp_path, settings)
    shift = summary["comparability"]["shift"]  # type: ignore[index]
    assert shift["applied"]
    assert (shift["rows"], shift["columns"]) == pytest.approx((-1, -1), abs=0.05)
    assert shift["residual"]["moved"] < 0.9 * shift["residual"]["unmoved"]
    assert "was moved by -1.00 pixels down and -1.00 right" in summary["notes"][-1]  # type: ignore[index]
    values = np.nan_to_num(heatmap(tmp_path))
    assert average_precision_score(truth.ravel(), values.ravel()) > 0.95
    assert np.isnan(heatmap(tmp_path)[-1]).all(), "nothing of the before scene is there"


def test_a_restarted_job_uses_the_shift_that_was_measured(
    tmp_path: Path, settings: Settings
) -> None:
    before, after, _ = change_pair(tmp_path / "pair", size=256)
    with rasterio.open(before) as raster:
        rolled = np.roll(raster.read(), (2, 1), (1, 2))
    spec = change(write_raster(tmp_path / "before.tif", rolled), after, tile_size=64)
    work(spec, tmp_path / "whole", settings)

    def stop(progress: Progress) -> None:
        if progress.message.startswith("5 of 16"):
            raise JobCancelledError("enough")

    with pytest.raises(JobCancelledError):
        work(spec, tmp_path / "twice", settings, stop)
    kept = tmp_path / "twice" / "scratch" / "comparability.json"
    before_restart = kept.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geoanomaly.pairs.comparability.measure", None)  # it is not measured again
        work(spec, tmp_path / "twice", settings)
    assert kept.read_bytes() == before_restart
    first, second = (
        (tmp_path / name / "out" / "heatmap.tif").read_bytes() for name in ("whole", "twice")
    )
    assert first == second


def test_what_was_found_survives_json(tmp_path: Path) -> None:
    before, after, _ = change_pair(tmp_path / "pair", size=256)
    inputs = open_inputs(change(before, after))
    found = compared(inputs, tmp_path / "kept.json", seed=0, anyway=False)
    assert Comparability.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert compared(inputs, tmp_path / "kept.json", seed=0, anyway=False) == found


# The command line.


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def calling(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["geoanomaly", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return int(str(ended.value.code))

    return calling


def test_the_command_refuses_and_obeys(
    pair: tuple[Path, Path, NDArray[np.bool_]],
    elsewhere: Path,
    tmp_path: Path,
    call: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    command = ("detect", elsewhere, "--before", pair[0], "--detector", "rwr", "--out", out)
    assert call(*command) == 2
    said = capfd.readouterr().err.splitlines()[-1]
    assert said.startswith("error: before: before.tif and after.tif cannot be compared.")
    assert not out.exists()
    assert call(*command, "--anyway") == 0
    assert "Doubtful: The dates have" in capfd.readouterr().err
    assert (out / "heatmap.tif").exists()


def test_a_sky_of_clouds_is_refused_by_the_command(
    tmp_path: Path, call: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    before, after, _ = change_pair(tmp_path / "pair", size=400)
    scl = np.full((1, 400, 400), 9, np.uint8)
    scl[:, :40, :40] = 4
    mask = write_raster(tmp_path / "S2_SCL.tif", scl)
    out = tmp_path / "out"
    command = ("detect", after, "--before", before, "--detector", "rwr", "--out", out)
    assert call(*command, "--before-mask", mask) == 2
    assert "0.86 % of the pixels are valid at both dates, 5 % are wanted" in capfd.readouterr().err
    assert not out.exists()
    assert call(*command, "--before-mask", mask, "--anyway") == 0
    assert "note: 0.9% of the area is valid." in capfd.readouterr().err
    assert call("detect", after, "--before-mask", mask, "--out", out) == 2
    assert "before_mask: A mask of the before scene needs --before." in capfd.readouterr().err
