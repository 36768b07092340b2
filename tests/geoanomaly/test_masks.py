"""What is left out of a scene: clouds by product classes, a user's masks, water."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.transform import Affine
from shapely.geometry import box

from geoanomaly.errors import ParameterError, SceneError
from geoanomaly.intake.check import check
from geoanomaly.pipeline import run
from geoanomaly.scenes.inputs import Inputs, open_inputs, open_normal
from geoanomaly.scenes.masks import GROWTH, decode
from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec, Process, Scene, silent
from tests.rasters import NORTH_UP, UTM, change_pair, texture, write_raster

SIZE = 120
Bools = NDArray[np.bool_]


def single(path: Path, mask: Path | None = None, **options: Any) -> JobSpec:
    scene = Scene(str(path), title=path.name, mask=mask and Scene(str(mask), title=mask.name))
    return JobSpec(Process.DETECT_ANOMALY, (scene,), **options)


def valid(inputs: Inputs, scene: int = 0, size: int = 48, halo: int = 5) -> Bools:
    """Validity of a whole scene, put together from tiles that are read with a halo."""
    out = np.zeros(tuple(inputs.geobox.shape), bool)
    for tile in inputs.tiles(size, halo):
        out[tile.core] = inputs.read(tile)[scene].valid[0][tile.inner]
    return out


def ground(folder: Path, bands: int = 3, **options: Any) -> Path:
    return write_raster(folder / "scene.tif", texture(0, bands, SIZE, SIZE), **options)


def blocks(seed: int, values: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Classes in blocks of 10 pixels, (1, SIZE, SIZE)."""
    few = np.random.default_rng(seed).choice(values, (SIZE // 10, SIZE // 10))
    return np.kron(few, np.ones((10, 10), int)).astype(dtype)[None]


# Classes.


def test_scl_classes_are_those_of_the_product() -> None:
    """0 no data, 1 defective, 3 shadow, 8-10 cloud; 2, 4-7 and 11 (snow) are ground."""
    values = np.array([[*range(12), np.nan]], np.float32)
    clouds, others = decode(values, "SCL")
    assert np.flatnonzero(clouds[0]).tolist() == [3, 8, 9, 10]
    assert np.flatnonzero(others[0]).tolist() == [0, 1, 12]


@given(st.integers(0, 65_535))
def test_qa_pixel_bits_are_those_of_the_product(value: int) -> None:
    bits = [bool(value >> bit & 1) for bit in range(16)]
    clouds, others = decode(np.array([[value]], np.float32), "QA_PIXEL")
    assert clouds[0, 0] == any(bits[1:5])
    assert others[0, 0] == bits[0]


def test_known_qa_pixel_values_of_landsat_8() -> None:
    """From the USGS product guide: clear, water, fill, cloud, shadow, snow."""
    values = np.array([[21824, 21952, 1, 22280, 23888, 30048]], np.float32)
    left_out = np.logical_or(*decode(values, "QA_PIXEL"))
    assert left_out[0].tolist() == [False, False, True, True, True, False]


@pytest.mark.parametrize("name", ["SCL", "QA_PIXEL"])
def test_a_flag_band_in_the_scene_is_a_mask_and_no_data(tmp_path: Path, name: str) -> None:
    values = {"SCL": (4, 5, 9, 0), "QA_PIXEL": (21824, 21952, 22280, 1)}[name]
    flags = blocks(1, values, "uint16")
    data = texture(0, 3, SIZE, SIZE).astype("uint16")
    names = ("red", "green", "blue", name)
    path = write_raster(tmp_path / "scene.tif", np.concatenate([data, flags]), names=names)
    inputs = open_inputs(single(path))
    assert inputs.scenes[0].band_names == ("red", "green", "blue")
    assert inputs.arrays[0].shape[0] == 3
    assert any(f"band {name}" in note for note in inputs.notes)
    assert np.array_equal(valid(inputs), ~grown(flags[0], name))


def grown(flags: NDArray[Any], name: str) -> Bools:
    """The definition by plain loops: a pixel is out if it is, or if an SCL cloud is near it."""
    if name == "QA_PIXEL":
        return (flags & 0b11111) > 0
    cloud = np.isin(flags, (3, 8, 9, 10))
    out = np.isin(flags, (0, 1)) | cloud
    for row, col in np.argwhere(cloud):
        rows, cols = (slice(max(part - GROWTH, 0), part + GROWTH + 1) for part in (row, col))
        out[rows, cols] = True
    return out


def test_a_scene_of_flags_alone_is_refused(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", blocks(0, (4, 9), "uint8"), names=("SCL",))
    with pytest.raises(SceneError, match="only SCL"):
        open_inputs(single(path))


# A user's masks.


@pytest.mark.parametrize("crs", [UTM, None])
def test_a_mask_on_the_grid_of_the_scene(tmp_path: Path, crs: str | None) -> None:
    flags = blocks(2, (0, 0, 1, 7), "uint8")
    mask = write_raster(tmp_path / "mask.tif", flags, crs=crs)
    inputs = open_inputs(single(ground(tmp_path, crs=crs), mask))
    assert np.array_equal(valid(inputs), flags[0] == 0)
    assert any("not 0" in note for note in inputs.notes)


def test_a_mask_of_another_grid_and_crs_is_laid_on_by_nearest_pixels(tmp_path: Path) -> None:
    flags = blocks(2, (0, 1), "uint8")
    coarse = write_raster(
        tmp_path / "coarse.tif", flags[:, ::10, ::10], transform=NORTH_UP * Affine.scale(10)
    )
    lonlat = tmp_path / "lonlat.tif"
    _warp(write_raster(tmp_path / "fine.tif", flags), lonlat)
    scene = ground(tmp_path)
    assert np.array_equal(valid(open_inputs(single(scene, coarse))), flags[0] == 0)
    wrong = valid(open_inputs(single(scene, lonlat))) != (flags[0] == 0)
    assert wrong.mean() < 0.03, "two nearest-neighbour steps err at edges only"


def _warp(source: Path, target: Path) -> None:
    from rasterio.vrt import WarpedVRT

    with rasterio.open(source) as raster, WarpedVRT(raster, crs="EPSG:4326") as warped:
        write_raster(target, warped.read(), crs="EPSG:4326", transform=warped.transform)


def test_a_mask_says_nothing_beyond_its_edge_and_where_it_is_nodata(tmp_path: Path) -> None:
    half = np.full((1, SIZE, SIZE // 2), 1, "uint8")
    half[:, :20] = 255
    half[:, 20:40] = 0
    mask = write_raster(tmp_path / "mask.tif", half, nodata=255)
    expected = np.ones((SIZE, SIZE), bool)
    expected[40:, : SIZE // 2] = False
    assert np.array_equal(valid(open_inputs(single(ground(tmp_path), mask))), expected)


@pytest.mark.parametrize("name", ["T33UVP_20200701_SCL_20m.tif", "LC08_L2SP_QA_PIXEL.TIF"])
def test_the_file_name_tells_what_a_mask_is(tmp_path: Path, name: str) -> None:
    values = (4, 9) if "SCL" in name else (21824, 22280)
    flags = blocks(3, values, "uint16")
    mask = write_raster(tmp_path / name, flags)
    kind = "SCL" if "SCL" in name else "QA_PIXEL"
    assert np.array_equal(
        valid(open_inputs(single(ground(tmp_path), mask))), ~grown(flags[0], kind)
    )


def test_a_word_that_only_holds_the_letters_is_no_kind(tmp_path: Path) -> None:
    flags = blocks(3, (0, 4), "uint8")
    mask = write_raster(tmp_path / "exclude_muscles.tif", flags)
    assert np.array_equal(valid(open_inputs(single(ground(tmp_path), mask))), flags[0] == 0)


def test_polygons_are_a_mask(tmp_path: Path) -> None:
    left, top = NORTH_UP @ (30, 50)
    area = box(left, top - 400, left + 250, top)
    path = tmp_path / "lake.gpkg"
    geopandas.GeoDataFrame(geometry=[area], crs=UTM).to_crs("EPSG:4326").to_file(path)
    expected = np.ones((SIZE, SIZE), bool)
    expected[50:90, 30:55] = False
    assert np.array_equal(valid(open_inputs(single(ground(tmp_path), path))), expected)


def test_masks_of_both_dates_each_on_its_own_grid(tmp_path: Path) -> None:
    """The before scene is twice as coarse, and so is its mask."""
    flags = blocks(4, (0, 1), "uint8")
    after = write_raster(tmp_path / "after.tif", texture(0, 3, SIZE, SIZE))
    half = NORTH_UP * Affine.scale(2)
    before = write_raster(
        tmp_path / "before.tif", texture(0, 3, SIZE, SIZE)[:, ::2, ::2], transform=half
    )
    masks = [
        write_raster(tmp_path / "before_mask.tif", flags[:, ::2, ::2], transform=half),
        write_raster(tmp_path / "mask.tif", flags[:, ::-1]),
    ]
    scenes = tuple(
        Scene(str(path), mask=Scene(str(mask)))
        for path, mask in zip((before, after), masks, strict=True)
    )
    inputs = open_inputs(JobSpec(Process.DETECT_CHANGE, scenes))
    assert np.array_equal(valid(inputs, 0), flags[0] == 0)
    assert np.array_equal(valid(inputs, 1), flags[0, ::-1] == 0)
    bare = write_raster(tmp_path / "bare.tif", flags[:, ::2, ::2], crs=None)
    scenes = (replace(scenes[0], mask=Scene(str(bare))), scenes[1])
    with pytest.raises(SceneError, match="need a CRS") as caught:
        open_inputs(JobSpec(Process.DETECT_CHANGE, scenes))
    assert caught.value.field == "before_mask"


def test_a_mask_moves_with_its_scene(tmp_path: Path) -> None:
    flags = blocks(4, (0, 1), "uint8")
    pair = [
        write_raster(tmp_path / f"{name}.tif", texture(0, 3, SIZE, SIZE), crs=None)
        for name in ("before", "after")
    ]
    mask = write_raster(tmp_path / "mask.tif", flags, crs=None)
    scenes = (Scene(str(pair[0]), mask=Scene(str(mask))), Scene(str(pair[1])))
    inputs = open_inputs(JobSpec(Process.DETECT_CHANGE, scenes), moved=(7.0, -3.0))
    assert np.array_equal(valid(inputs)[7:, :-3], flags[0, :-7, 3:] == 0)
    assert not valid(inputs)[:7].any(), "nothing came from beyond the scene"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: folder / "none.tif", "neither as a raster"),
        (lambda folder: _text(folder), "neither as a raster"),
        (
            lambda folder: write_raster(
                folder / "far.tif",
                np.zeros((1, 9, 9), "uint8"),
                transform=Affine.translation(9e4, 0) * NORTH_UP,
            ),
            "covers nothing",
        ),
        (
            lambda folder: write_raster(folder / "s.tif", np.zeros((1, 9, 9), "uint8"), crs=None),
            "need a CRS",
        ),
    ],
)
def test_a_mask_that_cannot_be_used_names_its_field(tmp_path: Path, make: Any, reason: str) -> None:
    with pytest.raises(SceneError, match=reason) as caught:
        open_inputs(single(ground(tmp_path), make(tmp_path)))
    assert caught.value.field == "mask"


def _text(folder: Path) -> Path:
    (folder / "mask.txt").write_text("clouds everywhere")
    return folder / "mask.txt"


def test_a_mask_of_everything_is_refused_at_intake(tmp_path: Path, settings: Settings) -> None:
    mask = write_raster(tmp_path / "mask.tif", np.ones((1, SIZE, SIZE), "uint8"))
    with pytest.raises(SceneError, match=r"0 of 14,400 pixels are valid.*masks"):
        check(single(ground(tmp_path), mask), settings)


def test_training_scenes_are_masked_too(tmp_path: Path) -> None:
    flags = blocks(5, (0, 1), "uint8")
    mask = write_raster(tmp_path / "mask.tif", flags)
    scene = Scene(str(ground(tmp_path)), mask=Scene(str(mask)))
    assert np.array_equal(valid(open_normal(scene, None, None)), flags[0] == 0)


def test_a_spec_with_masks_survives_json(tmp_path: Path) -> None:
    spec = single(ground(tmp_path), tmp_path / "m.tif", ignore=("water",))
    assert JobSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    old = {key: value for key, value in spec.to_json().items() if key not in ("ignore", "anyway")}
    old["scenes"] = [{"href": "a.tif", "sensor": None, "date": None, "title": None}]
    assert JobSpec.from_json(old).scenes == (Scene("a.tif"),), "jobs accepted by an older version"


# Water.


def lake(folder: Path, name: str, water: Bools, names: tuple[str, ...]) -> Path:
    """Land is dark in green and bright in infrared, water the reverse."""
    data = np.full((len(names), SIZE, SIZE), 2000, "uint16")
    for band, values in zip(names, data, strict=True):
        green = band in ("B03", "green")
        values[water] = 900 if green else 300
        values[~water] = 700 if green else 2500
    return write_raster(folder / name, data, names=names)


@pytest.mark.parametrize(
    "names",
    [("B02", "B03", "B04", "B08"), ("red", "green", "blue", "nir"), ("B03", "B08", "B11")],
)
def test_water_is_told_by_green_and_infrared(tmp_path: Path, names: tuple[str, ...]) -> None:
    wet = np.zeros((SIZE, SIZE), bool)
    wet[10:60, 20:90] = True
    inputs = open_inputs(single(lake(tmp_path, "a.tif", wet, names), ignore=("water",)))
    assert np.array_equal(valid(inputs), ~wet)


def test_a_flood_is_no_water_to_ignore(tmp_path: Path) -> None:
    names = ("B02", "B03", "B04", "B08")
    river, flood = np.zeros((2, SIZE, SIZE), bool)
    river[:, 40:60] = flood[:, 40:60] = flood[30:90] = True
    before = lake(tmp_path, "before.tif", river, names)
    after = lake(tmp_path, "after.tif", flood, names)
    radar = write_raster(tmp_path / "radar.tif", texture(1, 2, SIZE, SIZE), names=("VV", "VH"))
    for first in (before, radar):
        spec = JobSpec(
            Process.DETECT_CHANGE, (Scene(str(first)), Scene(str(after))), ignore=("water",)
        )
        left = valid(open_inputs(spec), 1)
        # Radar cannot tell, so that what the other date shows has to do.
        assert np.array_equal(left, ~(flood if first == radar else river))


def test_water_without_the_bands_for_it_has_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="give water as a mask") as caught:
        open_inputs(single(ground(tmp_path), ignore=("water",)))
    assert caught.value.field == "ignore"


def test_only_what_is_known_can_be_ignored(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(ParameterError, match="'forest' cannot be ignored") as caught:
        check(single(ground(tmp_path), ignore=("forest",)), settings)
    assert caught.value.field == "ignore"


# What becomes of it.


def test_a_masked_stripe_is_empty_and_raises_nothing_beside_it(
    tmp_path: Path, settings: Settings
) -> None:
    """Under it lies a cloud that would be the strangest thing of all."""
    before, after, truth = change_pair(tmp_path / "pair", dtype="float32")
    stripe = np.zeros(truth.shape, bool)
    stripe[100:112] = True
    with rasterio.open(after, "r+") as raster:
        clean = raster.read()
        raster.write(np.where(stripe, 30_000, clean).astype(np.float32))
    bare = write_raster(tmp_path / "clean.tif", clean)
    mask = write_raster(tmp_path / "mask.tif", stripe[None].astype("uint8"))
    maps = {}
    for name, scene in (
        ("masked", Scene(str(after), mask=Scene(str(mask)))),
        ("clean", Scene(str(bare))),
    ):
        spec = JobSpec(Process.DETECT_CHANGE, (Scene(str(before)), scene), detector="rwr")
        out = tmp_path / name
        run(spec, out=out, scratch=out / ".work", settings=settings, report=silent)
        with rasterio.open(out / "heatmap.tif") as raster:
            maps[name] = raster.read(1)
    assert np.array_equal(np.isnan(maps["masked"]), stripe)
    beside = np.zeros_like(stripe)
    beside[92:100] = beside[112:120] = True
    assert np.mean(maps["masked"][beside] >= 2) <= np.mean(maps["clean"][beside] >= 2) + 0.01
    assert np.abs(maps["masked"] - maps["clean"])[beside].mean() < 0.1
    report = json.loads((tmp_path / "masked" / "run.json").read_text())
    assert report["valid"] == {"pixels": int((~stripe).sum()), "share": pytest.approx(0.9375)}
    assert report["inputs"][1]["mask"] == str(mask)
    assert len(report["inputs"][1]["mask_sha256"]) == 64
