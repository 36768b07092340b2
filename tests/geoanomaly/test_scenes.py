"""A look at a file, and two scenes on one grid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from geoanomaly.errors import ParameterError, SceneError
from geoanomaly.scenes.info import SceneInfo, align, inspect
from geoanomaly.types import Scene
from tests.rasters import NORTH_UP, UTM, write_raster

S2_NAMES = ("B02", "B03", "B04", "B08")


def numbers(bands: int, dtype: str = "uint16", *, height: int = 20, width: int = 30) -> Any:
    """Every value is another, from 1."""
    return (np.arange(bands * height * width).reshape(bands, height, width) % 250 + 1).astype(dtype)


def look(path: Path, **options: Any) -> SceneInfo:
    return inspect(Scene(str(path)), field="scene", **options)


def values(info: SceneInfo) -> np.ndarray:
    height, width = info.geobox.shape
    return info.source.read(slice(0, height), slice(0, width))


def test_what_is_found_in_a_file(tmp_path: Path) -> None:
    info = look(write_raster(tmp_path / "a.tif", numbers(4), names=S2_NAMES))
    assert info.sensor.name == "sentinel-2-l2a"
    assert info.band_names == S2_NAMES
    assert info.geobox.shape == (20, 30)
    assert info.geobox.affine == NORTH_UP
    assert info.georeferenced
    assert info.notes == ("a.tif: 4 bands, taken as sentinel-2-l2a.",)


def test_a_guess_is_said_and_a_choice_is_not(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", numbers(1))
    assert look(path).notes == ("a.tif: 1 band, taken as generic.",)
    assert look(path, sensor="sar").notes == ()
    chosen = inspect(Scene(str(path), sensor="sar"), field="scene")
    assert (chosen.sensor.name, chosen.notes) == ("sar", ())
    titled = inspect(Scene(str(path), title="Spring"), field="scene")
    assert titled.notes[0].startswith("Spring: ")


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        (("B02_blue", "B03_green", "B04_red", "B08_nir"), S2_NAMES),
        (("B2", "B3", "B4", "B8"), S2_NAMES),
        (("B08", "B04", "B03", "B02"), ("B08", "B04", "B03", "B02")),
    ],
)
def test_band_names_of_products(
    tmp_path: Path, written: tuple[str, ...], taken: tuple[str, ...]
) -> None:
    info = look(write_raster(tmp_path / "a.tif", numbers(4), names=written))
    assert (info.sensor.name, info.band_names) == ("sentinel-2-l2a", taken)


def test_names_that_are_not_the_sensors_give_way_to_its_layout(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", numbers(4), names=("p", "q", "r", "s"))
    assert look(path, sensor="rgbn").band_names == ("red", "green", "blue", "nir")
    assert look(path, sensor="generic").band_names == ("p", "q", "r", "s")
    half = write_raster(tmp_path / "half.tif", numbers(2), names=("p",))
    assert look(half).band_names == ("band 1", "band 2")


@pytest.mark.parametrize(
    ("sensor", "dtype", "scale", "offset"),
    [
        ("sentinel-2-l2a", "uint16", 1e-4, 0),
        ("sentinel-2-l2a", "int16", 1e-4, 0),
        ("sentinel-2-l2a", "uint8", 1, 0),
        ("sentinel-2-l2a", "float32", 1, 0),
        ("landsat-c2-l2", "uint16", 2.75e-5, -0.2),
        ("landsat-c2-l2", "uint8", 1, 0),
        ("generic", "uint16", 1, 0),
    ],
)
def test_the_sensors_scale_is_for_16_bits(
    tmp_path: Path, sensor: str, dtype: str, scale: float, offset: float
) -> None:
    data = numbers(4, dtype)
    info = look(write_raster(tmp_path / "a.tif", data), sensor=sensor)
    wanted = data.astype(np.float32) * np.float32(scale) + np.float32(offset)
    assert np.allclose(values(info), wanted, rtol=1e-6, atol=1e-7)


def test_the_files_own_scale_wins(tmp_path: Path) -> None:
    data = numbers(4)
    path = write_raster(tmp_path / "a.tif", data)
    with rasterio.open(path, "r+") as raster:
        raster.scales, raster.offsets = (0.5,) * 4, (10,) * 4
    assert np.array_equal(values(look(path, sensor="sentinel-2-l2a")), data * np.float32(0.5) + 10)


@pytest.mark.parametrize(
    ("sensor", "dtype", "own", "missing"),
    [
        ("sentinel-2-l2a", "uint16", None, 0),
        ("sentinel-2-l2a", "uint16", 7, 7),
        ("sentinel-2-l2a", "uint8", None, None),
        ("landsat-c2-l2", "uint16", None, 0),
        ("generic", "uint16", None, None),
        ("generic", "uint8", 7, 7),
        ("generic", "float32", None, None),
    ],
)
def test_nodata(
    tmp_path: Path, sensor: str, dtype: str, own: float | None, missing: float | None
) -> None:
    data = numbers(3, dtype)
    data[:, 3, 4], data[:, 5, 6] = 0, 7
    hidden = data == missing if missing is not None else np.zeros(data.shape, bool)
    info = look(write_raster(tmp_path / "a.tif", data, nodata=own), sensor=sensor)
    assert np.array_equal(np.isnan(values(info)), hidden)


def four_bytes(path: Path, last: Any) -> Path:
    """GDAL calls the last band of such a file alpha, whatever it holds."""
    data = np.concatenate([numbers(3, "uint8", height=64, width=64), last[None]])
    write_raster(path, data, photometric="RGB", alpha="YES")
    with rasterio.open(path) as raster:
        assert raster.colorinterp[3] is ColorInterp.alpha
    return path


def test_transparency_hides_pixels_and_is_no_band(tmp_path: Path) -> None:
    alpha = np.full((64, 64), 255, np.uint8)
    alpha[:, :40] = 0
    info = look(four_bytes(tmp_path / "a.tif", alpha))
    assert (info.sensor.name, info.band_names) == ("rgb", ("red", "green", "blue"))
    assert info.source.bands == (1, 2, 3)
    assert np.array_equal(np.isnan(values(info)), np.broadcast_to(alpha == 0, (3, 64, 64)))


def test_infrared_in_the_place_of_transparency_is_a_band(tmp_path: Path) -> None:
    path = four_bytes(tmp_path / "a.tif", numbers(1, "uint8", height=64, width=64)[0])
    for sensor in (None, "rgbn"):
        info = look(path, sensor=sensor)
        assert (info.sensor.name, info.source.bands) == ("rgbn", (1, 2, 3, 4))
        assert np.isfinite(values(info)).all()
    assert look(path, sensor="rgb").source.bands == (1, 2, 3)


def test_a_degree_is_measured_along_the_meridian(tmp_path: Path) -> None:
    """Exports "at 10 m" have square degrees of 10 m northwards, at every latitude."""
    step = 10 / 111_320
    grid = Affine(step, 0, 10, 0, -step, 60)
    path = write_raster(tmp_path / "a.tif", numbers(12), crs="EPSG:4326", transform=grid)
    assert look(path).sensor.name == "sentinel-2-l2a"


def refused(path: Path | str, match: str, **options: Any) -> None:
    with pytest.raises(SceneError, match=match) as caught:
        inspect(Scene(str(path)), field="before", **options)
    assert caught.value.field == "before"


def test_files_that_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.tif", r"There is no file .*none\.tif")
    refused("", "no name")
    text = tmp_path / "text.tif"
    text.write_text("no raster")
    refused(text, r"text\.tif cannot be opened as a raster: .*not recognized")
    refused(tmp_path, "cannot be opened as a raster")
    waves = write_raster(tmp_path / "slc.tif", numbers(1).astype(np.complex64))
    refused(waves, r"slc\.tif has complex pixels \(complex64\). Give amplitude")
    five = write_raster(tmp_path / "five.tif", numbers(5))
    refused(five, "5 bands are no layout of sentinel-2-l2a .*generic", sensor="sentinel-2-l2a")


def test_an_unknown_sensor_is_the_sensors_fault(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", numbers(1))
    with pytest.raises(ParameterError, match="'spot' is not a sensor") as caught:
        look(path, sensor="spot")
    assert caught.value.field == "sensor"


def test_a_container_of_rasters_is_told_from_a_raster(tmp_path: Path) -> None:
    """netCDF cubes and HDF granules open well and have no bands; GeoPackage is such a one."""
    path = tmp_path / "cube.gpkg"
    picture = numbers(3, "uint8")
    for table in ("spring", "autumn"):
        with rasterio.open(
            path, "w", driver="GPKG", count=3, height=20, width=30, dtype="uint8", crs=UTM,
            transform=NORTH_UP, raster_table=table, append_subdataset="YES",
        ) as raster:  # fmt: skip
            raster.write(picture)
    refused(path, r"container of 2 rasters.*GPKG:.*cube\.gpkg:spring.*GeoTIFF")
    assert look(Path(f"GPKG:{path}:spring")).source.bands


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tiled": True, "blockxsize": 64, "blockysize": 64},
        {"compress": "deflate"},
        {"compress": "lzw", "tiled": True, "blockxsize": 64, "blockysize": 64},
        {"interleave": "band", "compress": "deflate"},
        {"interleave": "band", "tiled": True, "blockxsize": 64, "blockysize": 64},
        {"driver": "COG", "compress": "deflate"},
    ],
    ids=str,
)
def test_a_truncated_file_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(1, 60_000, (3, 300, 310)).astype(np.uint16)
    whole = tmp_path / "whole.tif"
    driver = options.get("driver", "GTiff")
    with rasterio.open(
        whole, "w", count=3, height=300, width=310, dtype="uint16", crs=UTM, transform=NORTH_UP,
        **{"driver": driver, **options},
    ) as raster:  # fmt: skip
        raster.write(noise)
    look(whole)
    data = whole.read_bytes()
    for kept in (len(data) // 3, len(data) * 9 // 10, len(data) - 100):
        cut = tmp_path / "cut.tif"
        cut.write_bytes(data[:kept])
        refused(cut, r"cut\.tif is truncated.*Copy or download|cut\.tif cannot be ")


def test_a_directory_of_blocks_at_the_end_is_missed(tmp_path: Path) -> None:
    """A file that was extended has its directory last; without it nothing opens."""
    path = write_raster(tmp_path / "a.tif", numbers(1, height=200, width=200))
    with rasterio.open(path, "r+") as raster:
        raster.update_tags(note="x" * 5000)
    data = path.read_bytes()
    directory = int.from_bytes(data[4:8], "little")
    assert directory > 200 * 200 * 2
    path.write_bytes(data[: directory + 20])
    refused(path, r"a\.tif cannot be opened")


def test_a_sparse_file_is_whole(tmp_path: Path) -> None:
    path = write_raster(
        tmp_path / "a.tif", np.zeros((1, 300, 300), np.uint16), sparse_ok=True, tiled=True
    )
    assert path.stat().st_size < 10_000
    assert look(path).geobox.shape == (300, 300)


def pair(
    folder: Path,
    before: dict[str, Any],
    after: dict[str, Any],
    shape: tuple[int, int] = (20, 30),
    bands: int = 1,
) -> tuple[SceneInfo, SceneInfo]:
    height, width = shape
    data = numbers(bands, height=height, width=width)
    paths = (
        write_raster(folder / "before.tif", data, **before),
        write_raster(folder / "after.tif", numbers(1), **after),
    )
    return look(paths[0]), look(paths[1])


def test_one_grid_needs_no_resampling(tmp_path: Path) -> None:
    before, after = pair(tmp_path, {}, {})
    found = align(before, after)
    assert (found.source, found.notes) == (before.source, ())
    rounded = replace(after, geobox=after.geobox.translate_pix(1e-7, 0))
    assert align(before, rounded).source.grid is None


def test_a_shift_of_a_tenth_of_a_pixel_is_resampled(tmp_path: Path) -> None:
    shifted = NORTH_UP * Affine.translation(0.1, 0)
    before, after = pair(tmp_path, {"transform": shifted}, {})
    found = align(before, after)
    assert found.source.grid == after.geobox
    assert "resampled bilinearly to the after scene's grid" in found.notes[0]


@pytest.mark.parametrize(
    "place",
    [
        {"transform": NORTH_UP * Affine.translation(15, 0)},
        {"transform": Affine(10, 0, 500_150, 0, 10, 5_399_800)},
    ],
    ids=["north-up", "south-up"],
)
@pytest.mark.parametrize("bands", [1, 2, 3, 4, 6])
def test_half_an_overlap_is_said_and_laid_right(
    tmp_path: Path, place: dict[str, Any], bands: int
) -> None:
    before, after = pair(tmp_path, place, {}, bands=bands)
    found = align(before, after)
    assert "covers 50%" in found.notes[0]
    read = found.source.read(slice(0, 20), slice(0, 30))
    flip = slice(None, None, -1 if place["transform"].e > 0 else 1)
    assert np.isnan(read[:, :, :15]).all()
    assert np.allclose(read[:, :, 15:], numbers(bands)[:, flip, :15])


def test_another_crs_of_the_same_ground(tmp_path: Path) -> None:
    degrees = Affine(1.4e-4, 0, 14.9995, 0, -1e-4, 48.7555)
    before, after = pair(tmp_path, {"crs": "EPSG:4326", "transform": degrees}, {}, shape=(60, 60))
    found = align(before, after)
    assert "EPSG:4326" in found.notes[0]
    assert "EPSG:32633" in found.notes[0]
    assert np.isfinite(found.source.read(slice(0, 20), slice(0, 30))).all()


def test_scenes_of_two_places_are_refused(tmp_path: Path) -> None:
    before, after = pair(tmp_path, {"transform": NORTH_UP * Affine.translation(30, 0)}, {})
    with pytest.raises(SceneError, match=r"do not overlap: before .*15\.0041.* after .*15\.") as e:
        align(before, after)
    assert e.value.field == "before"


def test_pairs_without_a_crs(tmp_path: Path) -> None:
    bare: dict[str, Any] = {"crs": None}
    assert "pixel by pixel" in align(*pair(tmp_path, bare, bare)).notes[0]
    assert "Only one scene has a CRS" in align(*pair(tmp_path, {}, bare)).notes[0]
    assert "Only one scene has a CRS" in align(*pair(tmp_path, bare, {})).notes[0]
    for options, missing in ((bare, "neither scene has"), ({}, "one scene has no")):
        with pytest.raises(SceneError, match=f"31 x 20.*30 x 20.*{missing} CRS") as caught:
            align(*pair(tmp_path, options, bare, shape=(20, 31)))
        assert caught.value.field == "before"
