"""Models that a user keeps: trained on normal ground, refused where they do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from shapely.geometry import box

from geoanomaly.errors import ParameterError, SceneError, UnknownModelError
from geoanomaly.intake.check import check
from geoanomaly.models import list_cards, load_model, read_card
from geoanomaly.pipeline import run
from geoanomaly.settings import Settings
from geoanomaly.types import AOI, JobSpec, Process, Scene, silent
from tests.rasters import UTM, texture, write_raster


def scenes(folder: Path, count: int, bands: int = 4) -> list[Path]:
    """Windows of one landscape, so that what is normal in one is normal in the others."""
    ground = texture(7, bands, 160, 160 * count)
    return [
        write_raster(folder / f"{number}.tif", ground[:, :, number * 160 : (number + 1) * 160])
        for number in range(count)
    ]


def train(paths: list[Path], settings: Settings, folder: Path, **options: object) -> JobSpec:
    values = {"name": "ground", "detector": "rx", **options}
    spec = JobSpec(Process.TRAIN_MODEL, tuple(Scene(str(p)) for p in paths), **values)  # type: ignore[arg-type]
    check(spec, settings)
    out = settings.models_dir / str(spec.name)
    run(spec, out=out, scratch=folder / "scratch", settings=settings, report=silent)
    return spec


def detect(path: Path, settings: Settings, folder: Path, **options: object) -> np.ndarray:
    spec = JobSpec(Process.DETECT_ANOMALY, (Scene(str(path)),), **options)  # type: ignore[arg-type]
    check(spec, settings)
    run(spec, out=folder / "out", scratch=folder / "scratch", settings=settings, report=silent)
    with rasterio.open(folder / "out" / "heatmap.tif") as raster:
        return np.asarray(raster.read(1))


@pytest.mark.usefixtures("little_training")
def test_train_keep_and_use(tmp_path: Path, settings: Settings) -> None:
    first, second, third = scenes(tmp_path, 3)
    train([first, second], settings, tmp_path, detector="vae")
    card = read_card(settings.models_dir, "ground")
    assert card.detector == "vae"
    assert card.trained_on == ("0.tif", "1.tif")
    assert card.calibration["sigma"] > 0
    assert card.config["space"]
    assert [each.name for each in list_cards(settings.models_dir)] == ["ground"]
    normal = detect(third, settings, tmp_path, model="ground")
    with rasterio.open(third, "r+") as raster:
        data = raster.read()
        data[:, 50:60, 50:60] = data[::-1, 50:60, 50:60] * 1.5
        raster.write(data)
    strange = detect(third, settings, tmp_path / "strange", model="ground")
    assert strange[52:58, 52:58].min() > np.quantile(normal, 0.99)
    # The model is fixed: ground beyond the halo keeps its value to the bit.
    assert np.array_equal(strange[100:], normal[100:])


@pytest.mark.usefixtures("little_training")
def test_equal_seeds_give_equal_models(tmp_path: Path, settings: Settings) -> None:
    paths = scenes(tmp_path, 1)
    digests = []
    for seed in (3, 3, 4):
        train(paths, settings, tmp_path, detector="vae", seed=seed)
        digests.append(read_card(settings.models_dir, "ground").digest)
    assert digests[0] == digests[1] != digests[2]


def test_excluded_ground_is_not_learnt(tmp_path: Path, settings: Settings) -> None:
    (path,) = scenes(tmp_path, 1)
    with rasterio.open(path, "r+") as raster:
        data = raster.read()
        data[:, :, 80:] *= 3
        raster.write(data)
    right = AOI(box(500_800, 5_398_000, 501_600, 5_400_000), UTM)
    train([path], settings, tmp_path, exclude=right)
    scores = detect(path, settings, tmp_path, model="ground")
    assert np.median(scores[:, :80]) < 0.5
    assert np.median(scores[:, 80:]) > 4


def test_a_model_refuses_scenes_it_was_not_made_for(tmp_path: Path, settings: Settings) -> None:
    paths = scenes(tmp_path, 1)
    train(paths, settings, tmp_path)
    with rasterio.open(paths[0]) as raster:
        fewer = write_raster(tmp_path / "fewer.tif", raster.read([1, 2]))
    with pytest.raises(SceneError, match=r"2 bands .* trained on 4") as refused:
        detect(fewer, settings, tmp_path, model="ground")
    assert refused.value.field == "scene"
    with pytest.raises(SceneError, match="taken as rgbn, model") as refused:
        detect(paths[0], settings, tmp_path, model="ground", sensor="rgbn")


def test_unknown_and_damaged_models(tmp_path: Path, settings: Settings) -> None:
    paths = scenes(tmp_path, 1)
    with pytest.raises(UnknownModelError, match="none yet"):
        detect(paths[0], settings, tmp_path, model="ground")
    train(paths, settings, tmp_path)
    with pytest.raises(UnknownModelError, match="models here: ground"):
        detect(paths[0], settings, tmp_path, model="../ground")
    weights = settings.models_dir / "ground" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(UnknownModelError, match="damaged"):
        load_model(settings.models_dir / "ground")


def test_a_name_cannot_leave_the_models_folder(tmp_path: Path, settings: Settings) -> None:
    for name in ("../up", "a/b", "", ".hidden", "x" * 65):
        with pytest.raises(ParameterError, match="no model name"):
            train(scenes(tmp_path, 1), settings, tmp_path, name=name)


def test_scenes_of_two_layouts_are_refused(tmp_path: Path, settings: Settings) -> None:
    first = scenes(tmp_path, 1)[0]
    other = write_raster(tmp_path / "other.tif", texture(1, 2, 100, 100))
    with pytest.raises(SceneError, match="one sensor and one band layout"):
        train([first, other], settings, tmp_path)


def test_the_card_is_json_that_says_what_the_model_is(tmp_path: Path, settings: Settings) -> None:
    train(scenes(tmp_path, 1), settings, tmp_path)
    card = json.loads((settings.models_dir / "ground" / "model.json").read_text())
    assert {"name", "detector", "sensor", "bands", "digest", "calibration", "config"} <= set(card)
    files = {path.name for path in (settings.models_dir / "ground").iterdir()}
    assert files == {"model.json", "model.safetensors"}
