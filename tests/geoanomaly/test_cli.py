"""The command line as its users have it: what it says, what it leaves behind, how it ends.

Where the process itself matters (signals, terminals, imports) the installed command runs
as one. The rest calls its entry point here, which spares seconds of imports each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.warp import transform_bounds
from shapely.geometry import MultiPolygon, Polygon, box
from sklearn.metrics import average_precision_score

from geoanomaly import __version__
from geoanomaly.cli import main
from geoanomaly.results.outputs import OUTPUTS
from tests.rasters import NORTH_UP, UTM, change_pair, texture, write_raster
from tests.services import wait_for

COMMAND = str(Path(sys.executable).with_name("geoanomaly"))
COMMANDS = [
    *("detect", "train", "evaluate", "models", "doctor"),
    *("serve", "worker", "submit", "status", "cancel", "download", "demo"),
    "keys",
]

Pair = tuple[Path, Path, NDArray[np.bool_]]
Call = Callable[..., "Answer"]


class Answer:
    """How a command ended: exit code, and what it wrote, C libraries included."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def __repr__(self) -> str:
        return f"exit code {self.code}\n{self.out}\n{self.err}"


def run(*arguments: object) -> Answer:
    """The installed command."""
    done = subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """The command's entry point, in this process."""

    def calling(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["geoanomaly", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return Answer(ended.value.code, *capfd.readouterr())

    return calling


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return change_pair(tmp_path_factory.mktemp("pair"))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def heatmap(out: Path) -> NDArray[np.float32]:
    with rasterio.open(out / "heatmap.tif") as raster:
        return np.asarray(raster.read(1))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Help and what it costs.


def test_help_names_every_command_in_whole_sentences(call: Call) -> None:
    answer = call("--help")
    assert answer.code == 0
    listed = answer.out.split("Commands:")[1].strip().splitlines()
    assert [line.split()[0] for line in listed] == COMMANDS
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(call: Call, command: str) -> None:
    answer = call(command, "--help")
    assert answer.code == 0
    assert answer.out.startswith(f"Usage: geoanomaly {command} [OPTIONS]")
    assert answer.err == ""


def test_help_and_version_import_nothing_slow() -> None:
    traced = subprocess.run(
        [sys.executable, "-X", "importtime", COMMAND, "--help"], capture_output=True, text=True
    )
    loaded = {line.split("|")[-1].strip() for line in traced.stderr.splitlines()}
    assert "geoanomaly.cli" in loaded
    slow = {"torch", "rasterio", "shapely", "rich", "numpy", "httpx", "pydantic", "celery"}
    assert loaded & slow == set()
    assert run("--version").out.strip() == __version__


def test_help_answers_in_under_half_a_second() -> None:
    """Of processor time, the best of three: other work on the machine must not fail this."""
    seconds = []
    for _ in range(3):
        process = subprocess.Popen([COMMAND, "--help"], stdout=subprocess.DEVNULL)
        usage = os.wait4(process.pid, 0)[2]
        process.returncode = 0
        seconds.append(usage.ru_utime + usage.ru_stime)
    assert min(seconds) < 0.5, seconds


# The main jobs.


def test_detect_change_and_evaluate(pair: Pair, tmp_path: Path, call: Call) -> None:
    before, after, truth = pair
    out = tmp_path / "deep" / "out"
    answer = run("detect", after, "--before", before, "--detector", "rwr", "--out", out)
    assert answer.code == 0, answer
    assert names(out) == sorted(OUTPUTS)
    assert average_precision_score(truth.ravel(), heatmap(out).ravel()) > 0.95
    found = json.loads((out / "run.json").read_text())["anomalies"]["count"]
    said = answer.out.splitlines()
    assert said[0].startswith(f"{found} anomal")
    assert said[1].strip() == str(out / "heatmap.tif")
    # A pipe gets plain lines, one a stage, in order.
    lines = answer.err.splitlines()
    assert lines[0] == "note: before.tif: 4 bands, taken as generic."
    assert "192 x 192 pixels, 1 tile, generic" in lines
    stages = [line.split("% ")[1].split(":")[0] for line in lines if " % " in line]
    assert stages == ["reading", "calibrating", "scoring", "writing", "done"]
    assert "\x1b" not in answer.err

    label = write_raster(tmp_path / "truth.tif", truth[None].astype(np.uint8))
    curves = tmp_path / "curves.png"
    evaluated = call("evaluate", out / "heatmap.tif", label, "--json", "--curves", curves)
    assert evaluated.code == 0, evaluated
    values = json.loads(evaluated.out)
    expected = average_precision_score(truth.ravel(), heatmap(out).ravel())
    assert values["average_precision"] == pytest.approx(expected, abs=1e-3)
    assert curves.read_bytes().startswith(b"\x89PNG")
    table = call("evaluate", out / "heatmap.tif", label).out
    assert table.startswith("average precision")
    assert "oracle" in table


def test_a_single_scene_on_a_terminal(pair: Pair, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "detect", pair[1], "--detector", "rx", "--out", tmp_path / "out"],
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # Linux ends a terminal with EIO.
        while block := os.read(ours, 4096):
            said += block
    os.close(ours)
    answer = process.communicate()[0].decode()
    assert process.returncode == 0, said
    assert names(tmp_path / "out") == sorted(OUTPUTS)
    assert "above surprise 2" in answer
    text = said.decode()
    assert "\x1b[" in text, "one line that moves"
    assert "100%" in text
    assert " % scoring:" not in text


def test_train_list_and_use_a_model(pair: Pair, tmp_path: Path, call: Call) -> None:
    assert "no models yet" in call("models").out
    trained = call("train", "--name", "fields", "--detector", "rx", pair[0], pair[1])
    assert trained.code == 0, trained
    listed = call("models").out
    assert listed.startswith("fields: rx, generic (band 1 band 2 band 3 band 4), trained on before")
    used = call("detect", pair[1], "--model", "fields", "--out", tmp_path / "out")
    assert used.code == 0, used
    report = json.loads((tmp_path / "out" / "run.json").read_text())
    assert report["model"]["name"] == "fields"
    assert report["model"]["digest"].startswith(listed.split()[-1])
    assert report["model"]["digest"][:12] in trained.out

    five = write_raster(tmp_path / "five.tif", texture(1, 5, 64, 64))
    other = call("detect", five, "--model", "fields", "--out", tmp_path / "none")
    assert_refused(other, "scene", "5 bands")
    missing = call("detect", pair[1], "--model", "woods", "--out", tmp_path / "none")
    assert_refused(missing, "model", "'woods' (models here: fields)")
    pair_model = ("detect", pair[1], "--before", pair[0], "--model", "fields")
    assert_refused(call(*pair_model, "--out", tmp_path / "none"), "model", "single scene")
    assert not (tmp_path / "none").exists()


def test_doctor_tells_what_there_is(call: Call, tmp_path: Path) -> None:
    answer = call("doctor")
    assert answer.code == 0, answer
    assert f"geoanomaly: {__version__}" in answer.out
    assert f"data folder: {tmp_path / 'data'}" in answer.out
    assert "MISS" not in answer.out


def test_doctor_fails_where_nothing_can_be_kept(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GEOANOMALY_DATA_DIR", str(tmp_path / "file" / "data"))
    answer = call("doctor")
    assert answer.code == 1
    assert "MISS data folder" in answer.out


# Areas.


def test_an_area_as_degrees(pair: Pair, tmp_path: Path, call: Call) -> None:
    # 500 000 E is the central meridian, 15 degrees.
    west, south, east, north = transform_bounds(
        UTM, "EPSG:4326", 500_400, 5_398_800, 500_900, 5_399_600
    )
    area = f"{west},{south},{east},{north}"
    answer = call(*_change(pair, tmp_path / "out"), "--aoi", area)
    assert answer.code == 0, answer
    with rasterio.open(tmp_path / "out" / "heatmap.tif") as raster:
        assert raster.bounds == pytest.approx((500_400, 5_398_800, 500_900, 5_399_600), abs=10.1)


def test_an_area_of_a_file_in_another_crs(pair: Pair, tmp_path: Path, call: Call) -> None:
    triangle = Polygon([(500_400, 5_398_800), (501_200, 5_398_800), (500_400, 5_399_600)])
    frame = geopandas.GeoDataFrame(geometry=[triangle], crs=UTM).to_crs("EPSG:3857")
    frame.to_file(tmp_path / "area.geojson", driver="GeoJSON")
    answer = call(*_change(pair, tmp_path / "out"), "--aoi", tmp_path / "area.geojson")
    assert answer.code == 0, answer
    with rasterio.open(tmp_path / "out" / "heatmap.tif") as raster:
        assert raster.bounds == pytest.approx((500_400, 5_398_800, 501_200, 5_399_600), abs=10.1)
        values = raster.read(1)
    assert np.isnan(values[:30, -30:]).all()
    assert np.isfinite(values[-20:-2, 2:20]).all()


def test_an_area_may_begin_with_a_minus(tmp_path: Path, call: Call) -> None:
    write_raster(
        tmp_path / "a.tif",
        texture(1, 3, 64, 64),
        crs="EPSG:4326",
        transform=rasterio.transform.from_origin(-64, -30, 0.001, 0.001),
    )
    area = ("--aoi", "-63.99,-30.05,-63.95,-30.01")
    answer = call(
        "detect", tmp_path / "a.tif", "--detector", "rx", "--out", tmp_path / "out", *area
    )
    assert answer.code == 0, answer
    assert heatmap(tmp_path / "out").shape == (40, 40)


# What cannot be done.


def assert_refused(answer: Answer, field: str, words: str) -> None:
    """One line that names the field, exit code 2, and nothing else."""
    assert answer.code == 2, answer
    last = answer.err.splitlines()[-1]
    assert last.startswith(f"error: {field}: "), answer
    assert words in last
    others = answer.err.splitlines()[:-1]
    assert all(line.startswith("note: ") for line in others), answer
    assert answer.out == ""


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> Path:
    """Files that are wrong in one way each."""
    folder = tmp_path_factory.mktemp("bad")
    ground = texture(3, 4, 192, 192)
    whole = pair[1].read_bytes()
    (folder / "truncated.tif").write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "text.tif").write_text("no raster")
    write_raster(folder / "no-crs.tif", ground, crs=None)
    far = NORTH_UP @ rasterio.transform.Affine.translation(5_000, 0)
    write_raster(folder / "far.tif", ground, transform=far)
    write_raster(folder / "five.tif", texture(3, 5, 192, 192))
    write_raster(folder / "empty.tif", np.zeros_like(ground), nodata=0)
    tie = Polygon([(15.0, 48.70), (15.02, 48.74), (15.02, 48.70), (15.0, 48.74)])
    # GeoPandas does not mind; the job does.
    geopandas.GeoDataFrame(geometry=[tie], crs="EPSG:4326").to_file(folder / "tie.geojson")
    return folder


def _change(pair: Pair, out: Path) -> tuple[object, ...]:
    before, after, _ = pair
    return ("detect", after, "--before", before, "--detector", "rwr", "--out", out)


WRONG: dict[str, tuple[str, str, str]] = {
    # After, before ("" = single scene) and options; the field; words of the message.
    "missing": ("nowhere.tif", "scene", "There is no file"),
    "missing before": ("AFTER --before nowhere.tif", "before", "There is no file"),
    "truncated": ("truncated.tif", "scene", "is truncated"),
    "truncated before": ("AFTER --before truncated.tif", "before", "is truncated"),
    "no raster": ("text.tif", "scene", "cannot be opened as a raster"),
    "no CRS": ("no-crs.tif --aoi 15,48.7,15.02,48.74", "scene", "no CRS"),
    "no overlap": ("AFTER --before far.tif", "before", "do not overlap"),
    "layout": ("five.tif --sensor landsat-c2-l2", "scene", "5 bands are no layout"),
    "empty": ("empty.tif", "scene", "0 of 36,864 pixels are valid"),
    "area crosses itself": ("AFTER --aoi tie.geojson", "aoi", "Self-intersection"),
    "area outside": ("AFTER --aoi 1,2,3,4", "aoi", "covers no pixel of the scene"),
    "area of nothing": ("AFTER --aoi here", "aoi", "neither a file nor"),
    "area is a raster": ("AFTER --aoi five.tif", "aoi", "cannot be read as a vector file"),
    "detector": ("AFTER --detector best", "detector", "not a detector. Known: auto, cvae, rwr"),
    "detector of change": ("AFTER --detector rwr", "detector", "does not serve detect-anomaly"),
    "sensor": ("AFTER --sensor modis", "sensor", "not a sensor. Known: sentinel-2-l2a"),
    "model": ("AFTER --model woods", "model", "models here: none yet"),
    "tile small": ("AFTER --tile-size 31", "tile_size", "multiple of 32 in 32 to 4096"),
    "tile large": ("AFTER --tile-size 4097", "tile_size", "multiple of 32 in 32 to 4096"),
    "rate": ("AFTER --false-alarm-rate 0.6", "false_alarm_rate", "1e-6 to 0.5"),
    "seed": ("AFTER --seed -1", "seed", "must"),
}


def _words(line: str, bad: Path, pair: Pair) -> list[str]:
    known = {"AFTER": str(pair[1])} | {path.name: str(path) for path in bad.iterdir()}
    return [known.get(word, word) for word in line.split()]


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_input_is_one_line_and_leaves_nothing(
    bad: Path, pair: Pair, tmp_path: Path, call: Call, case: str
) -> None:
    line, field, words = WRONG[case]
    answer = call("detect", *_words(line, bad, pair), "--out", tmp_path / "out")
    assert_refused(answer, field, words)
    assert not (tmp_path / "out").exists()


def test_as_a_process_it_says_the_same(bad: Path, pair: Pair, tmp_path: Path, call: Call) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    for case in ("missing", "truncated"):
        line, field, words = WRONG[case]
        arguments = ("detect", *_words(line, bad, pair), "--out", tmp_path / "out")
        answer = run(*arguments)
        assert_refused(answer, field, words)
        assert answer.err == call(*arguments).err
    assert names(tmp_path / "out") == ["mine.txt"]


def test_wrong_folders_and_files(pair: Pair, tmp_path: Path, call: Call) -> None:
    (tmp_path / "file").touch()
    taken = call("detect", pair[1], "--detector", "rx", "--out", tmp_path / "file")
    assert (taken.code, taken.err.splitlines()[-1]) == (
        2,
        f"error: out: {tmp_path / 'file'} cannot be made: File exists.",
    )
    assert_refused(call("evaluate", "a.tif", "b.tif"), "heatmap", "a.tif")
    for name in ("../woods", "a b", ""):
        answer = call("train", "--name", name, "--detector", "rx", pair[1])
        assert_refused(answer, "name", "no model name")
    crossing = call("train", "--name", "n", "--exclude", "nothing.gpkg", pair[1])
    assert_refused(crossing, "exclude", "neither a file")
    assert "no models yet" in call("models").out
    assert not list((tmp_path / "data").glob("models/*"))


def test_a_command_that_is_not_there(call: Call) -> None:
    assert call("detekt").code == 2
    assert call("detect").code == 2
    unreachable = call("status", "--url", "http://127.0.0.1:9")
    assert unreachable.code == 1
    assert unreachable.err.startswith("error: The service at http://127.0.0.1:9 cannot be reached")
    assert len(unreachable.err.splitlines()) == 1


# Ctrl-C.


def _start(command: tuple[object, ...]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [COMMAND, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_ctrl_c_and_the_same_command_again(tmp_path: Path, call: Call) -> None:
    big = change_pair(tmp_path / "big", size=384)
    # 144 tiles: long enough to be hit in their middle.
    arguments = (*_change(big, tmp_path / "out"), "--tile-size", "32")
    process = _start(arguments)
    chunks = tmp_path / "out"

    def done() -> int:
        return len(list(chunks.glob(".work-*/surprise.zarr/c/*/*")))

    wait_for(lambda: done() >= 5 or process.poll() is not None, "some tiles", 60)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=20)[1]
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "stopped: the same command goes on where it stopped"
    assert "Traceback" not in said
    finished = done()
    assert 5 <= finished < 144
    assert [name for name in names(chunks) if not name.startswith(".work-")] == []

    again = call(*arguments)
    assert again.code == 0, again
    resumed = next(line for line in again.err.splitlines() if "scoring:" in line)
    assert int(resumed.split(":")[1].split()[0]) >= finished
    assert "calibrating" not in again.err, "the model is the one that was fitted before"
    assert names(chunks) == sorted(OUTPUTS), "no work folder is left"

    fresh = call(*_change(big, tmp_path / "fresh"), "--tile-size", "32")
    assert fresh.code == 0, fresh
    for name in ("heatmap.tif", "mask.tif", "anomalies.geojson"):
        assert sha256(chunks / name) == sha256(tmp_path / "fresh" / name)


def test_ctrl_c_before_the_first_tile_leaves_nothing(tmp_path: Path) -> None:
    pair = change_pair(tmp_path / "pair", size=512)
    # The network takes many seconds to fit.
    command = ("train", "--name", "fields", "--detector", "vae", pair[0])
    process = _start(command)
    assert process.stderr is not None
    for line in process.stderr:
        if " % " in line:
            break
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=20)[1]
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "stopped: nothing was written"
    assert not (tmp_path / "data" / "models" / "fields").exists()


def test_tiles_of_a_model_that_was_trained_anew_are_not_used(
    pair: Pair, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C, `train` under the same name, the same command: nothing of the old model stays."""
    from geoanomaly import pipeline

    out = tmp_path / "out"
    detect = ("detect", pair[1], "--model", "m", "--tile-size", "64", "--out", out)
    assert call("train", "--name", "m", "--detector", "rx", pair[1]).code == 0

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_publish", interrupted)
        assert call(*detect).code == 130
    assert len(list(out.glob(".work-*"))) == 1
    assert call("train", "--name", "m", "--detector", "rx", pair[0]).code == 0
    assert call(*detect).code == 0
    assert call(*detect[:-1], tmp_path / "fresh").code == 0
    assert sha256(out / "heatmap.tif") == sha256(tmp_path / "fresh" / "heatmap.tif")


def test_polygons_are_left_out_of_training(pair: Pair, tmp_path: Path, call: Call) -> None:
    place = MultiPolygon([box(500_960, 5_399_300, 501_200, 5_399_520)])
    geopandas.GeoDataFrame(geometry=[place], crs=UTM).to_file(tmp_path / "out.gpkg")
    digests = {}
    for name, options in (("all", ()), ("less", ("--exclude", tmp_path / "out.gpkg"))):
        answer = call("train", "--name", name, "--detector", "rx", pair[1], *options)
        assert answer.code == 0, answer
        digests[name] = json.loads(
            (tmp_path / "data" / "models" / name / "model.json").read_text()
        )["digest"]
    assert digests["all"] != digests["less"]
