"""Scenes named by path: priced in the sandbox, taken in once, and never opened themselves."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from shapely.geometry import box

from geoanomaly.errors import JobCancelledError, SceneError
from geoanomaly.intake import taken
from geoanomaly.intake.taken import check, local_mask, local_scene, take_in_all, taking_in
from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec, Process, Progress, RunResult, silent
from tests.rasters import change_pair


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def settings(tmp_path: Path, archive: Path) -> Settings:
    archive.mkdir()
    return Settings(data_dir=tmp_path / "data", scene_roots=(archive,))


@pytest.fixture
def spec(archive: Path, settings: Settings) -> JobSpec:
    before, after, _ = change_pair(archive, size=96)
    scenes = tuple(
        local_scene(str(path), settings, field=field)
        for path, field in ((before, "before"), (after, "after"))
    )
    return JobSpec(Process.DETECT_CHANGE, scenes)


def only_copies(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> list[str]:
    """From here on this process may open nothing but copies; the list has what it opened."""
    opened: list[str] = []
    real: Callable[..., Any] = rasterio.open

    def watched(path: Any, *args: Any, **options: Any) -> Any:
        assert Path(path).is_relative_to(settings.taken_dir), path
        opened.append(str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(rasterio, "open", watched)
    return opened


def test_the_price_is_the_same_before_and_after(
    spec: JobSpec, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = only_copies(monkeypatch, settings)
    first = check(spec, settings)
    assert first.shape == (96, 96)
    assert (opened, settings.taken_dir.exists()) == ([], False), "all in the sandbox"
    said: list[Progress] = []
    take_in_all(spec, settings, said.append)
    assert {each.stage for each in said} == {"taking in"}
    assert sorted(path.name for path in settings.taken_dir.iterdir()) == sorted(
        Path(scene.href).name for scene in spec.scenes
    )
    assert check(spec, settings) == first
    assert opened, "the copies are read here"


def test_a_copy_is_made_once(spec: JobSpec, settings: Settings, archive: Path) -> None:
    take_in_all(spec, settings, silent)
    stamps = [Path(scene.href).stat().st_mtime_ns for scene in spec.scenes]
    ran: list[JobSpec] = []

    def run(spec: JobSpec, **_: Any) -> RunResult:
        ran.append(spec)
        return RunResult(())

    taking_in(run)(spec, out=archive, scratch=archive, settings=settings, report=silent)
    assert ran == [spec]
    assert [Path(scene.href).stat().st_mtime_ns for scene in spec.scenes] == stamps
    with rasterio.open(spec.after.href) as copy, rasterio.open(str(spec.after.origin)) as source:
        assert (copy.read() == source.read()).all()


def test_a_job_that_is_cancelled_leaves_nothing(spec: JobSpec, settings: Settings) -> None:
    def stop(_: Progress) -> None:
        raise JobCancelledError

    with pytest.raises(JobCancelledError):
        take_in_all(spec, settings, stop)
    assert not settings.taken_dir.exists() or list(settings.taken_dir.iterdir()) == []


def test_a_scene_that_changed_is_not_taken(spec: JobSpec, settings: Settings) -> None:
    path = Path(str(spec.after.origin))
    os.utime(path, ns=(1, 1))
    for attempt in (check, lambda *args: take_in_all(*args, silent)):
        with pytest.raises(SceneError, match="has changed since") as caught:
            attempt(spec, settings)
        assert caught.value.field == "after"


def test_a_link_that_leads_out_meanwhile_is_followed(
    settings: Settings, archive: Path, tmp_path: Path
) -> None:
    """The check of the roots is made again by the worker; without it the file would be read."""
    change_pair(archive, size=96)
    outside = tmp_path / "outside"
    outside.mkdir()
    _, after, _ = change_pair(outside, size=96)
    inside = archive / after.name
    scene = local_scene(str(inside), settings, field="scene")
    inside.unlink()
    inside.symlink_to(after)
    spec = JobSpec(Process.DETECT_ANOMALY, (scene,))
    with pytest.raises(SceneError, match="outside the folders"):
        take_in_all(spec, settings, silent)
    unchecked = replace(scene, href=str(taken.copy_of(after, settings)), origin=str(after))
    with pytest.raises(SceneError, match="outside the folders"):
        take_in_all(replace(spec, scenes=(unchecked,)), settings, silent)


def test_without_the_check_of_the_roots_the_file_is_read(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside").mkdir()
    _, after, _ = change_pair(tmp_path / "outside", size=96)
    monkeypatch.setattr(taken, "allowed_path", lambda href, *_, **__: Path(href))
    scene = local_scene(str(after), settings, field="scene")
    take_in_all(JobSpec(Process.DETECT_ANOMALY, (scene,)), settings, silent)
    assert Path(scene.href).is_file()


def test_what_is_wrong_is_said_before_the_job_exists(settings: Settings, archive: Path) -> None:
    path = archive / "x.tif"
    path.write_text("<VRTDataset rasterXSize='1' rasterYSize='1'></VRTDataset>")
    scene = local_scene(str(path), settings, field="scene")
    with pytest.raises(SceneError, match=r"x\.tif is not a GeoTIFF") as caught:
        check(JobSpec(Process.DETECT_ANOMALY, (scene,)), settings)
    assert caught.value.field == "scene"


def test_the_sandbox_prices_a_pair_that_is_resampled(settings: Settings, archive: Path) -> None:
    """With few drivers: GDAL warps without the VRT driver."""
    before, after, _ = change_pair(archive, size=96)
    with rasterio.open(before, "r+") as raster:
        raster.transform = raster.transform * raster.transform.translation(0.5, 0.25)
    pair = (("before", before), ("after", after))
    scenes = tuple(local_scene(str(path), settings, field=name) for name, path in pair)
    price = check(JobSpec(Process.DETECT_CHANGE, scenes), settings)
    assert any("resampled" in note for note in price.notes)


def test_polygons_of_a_mask_are_taken_in_at_once(settings: Settings, archive: Path) -> None:
    path = archive / "clouds.gpkg"
    geopandas.GeoDataFrame(geometry=[box(11, 47, 11.1, 47.1)], crs="EPSG:4326").to_file(path)
    mask = local_mask(str(path), settings, field="mask")
    assert (mask.origin, Path(mask.href).suffix) == (str(path), ".geojson")
    assert geopandas.read_file(mask.href).geometry.iloc[0].equals(box(11, 47, 11.1, 47.1))
    Path(mask.href).unlink()
    take_in_all(JobSpec(Process.TRAIN_MODEL, (mask,), name="m"), settings, silent)
    assert Path(mask.href).is_file(), "somebody had cleared the folder"
    raster = archive / "m.tif"
    with rasterio.open(raster, "w", driver="GTiff", width=4, height=4, count=1, dtype="uint8") as m:
        m.write(np.ones((1, 4, 4), "uint8"))
    assert Path(local_mask(str(raster), settings, field="mask").href).suffix == ".tif"


def test_every_scene_of_a_request_is_taken_in(
    spec: JobSpec, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    took: list[tuple[str, str]] = []

    def note(raw: Path, *_: object, field: str, **__: Any) -> None:
        took.append((field, raw.name))

    monkeypatch.setattr(taken, "take_in", note)
    before, after = spec.scenes
    masked = replace(after, mask=before)
    history = (replace(before, href=str(settings.taken_dir / "other.tif")),)
    with pytest.raises(SceneError, match="has changed"):
        take_in_all(replace(spec, scenes=(before, masked), history=history), settings, silent)
    assert took == [("before", "before.tif"), ("after", "after.tif")]
    took.clear()
    training = JobSpec(Process.TRAIN_MODEL, (replace(after, mask=before),), name="m")
    take_in_all(training, settings, silent)
    assert took == [("scenes", "after.tif"), ("scenes", "before.tif")]
