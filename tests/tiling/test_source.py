"""Lazy reading gives what rasterio gives, and says where there is nothing."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, Resampling
from rasterio.transform import Affine
from rasterio.windows import Window
from scipy.ndimage import shift

from tests.rasters import NORTH_UP, UTM, texture, write_raster
from tiling.source import RasterSource, open_lazy, read_padded
from tiling.types import TileBatch

SHAPE = (3, 70, 90)


def lazy(source: RasterSource):
    return open_lazy(source, tuple(f"b{band}" for band in source.bands))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_values_equal_rasterio(tmp_path: Path, dtype: str) -> None:
    data = (texture(0, *SHAPE) / 10).astype(dtype)
    array = lazy(RasterSource(str(write_raster(tmp_path / "a.tif", data)), (1, 3)))
    assert array.dims == ("band", "y", "x")
    assert np.array_equal(array.values, data[[0, 2]].astype(np.float32))
    assert np.array_equal(array[1, 5:17:3, -9:].values, data[2, 5:17:3, -9:].astype(np.float32))
    assert np.array_equal(array[:, 4, 6].values, data[[0, 2], 4, 6].astype(np.float32))


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", texture(0, *SHAPE))
    array = lazy(RasterSource(str(path), (1,)))
    path.unlink()
    with pytest.raises(rasterio.errors.RasterioIOError):
        _ = array.values


def test_a_source_travels_between_processes(tmp_path: Path) -> None:
    array = lazy(RasterSource(str(write_raster(tmp_path / "a.tif", texture(0, *SHAPE))), (2,)))
    assert np.array_equal(pickle.loads(pickle.dumps(array)).values, array.values)


def test_a_thread_opens_a_raster_once_and_anew_when_it_was_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    real = rasterio.open

    def counting(href: str, *args: object, **options: object) -> object:
        opened.append(href)
        return real(href, *args, **options)

    data = texture(0, *SHAPE)
    path = write_raster(tmp_path / "a.tif", data)
    array = lazy(RasterSource(str(path), (1, 2)))
    monkeypatch.setattr(rasterio, "open", counting)
    for row in range(0, 20, 5):
        assert np.array_equal(array[:, row : row + 5].values, data[:2, row : row + 5])
    assert len(opened) == 1
    write_raster(path, data[:, ::-1])
    assert np.array_equal(array.values, data[:2, ::-1])
    assert len(opened) > 1


def test_threads_share_a_raster_and_read_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    real = RasterSource.open
    monkeypatch.setattr(RasterSource, "open", lambda s: (opened.append(s.href), real(s))[1])
    data = texture(0, *SHAPE)
    path = write_raster(tmp_path / "a.tif", data, tiled=True, blockxsize=16, blockysize=16)
    plain = RasterSource(str(path), (1, 2, 3))
    moved = RasterSource(str(path), (1, 2, 3), moved=(1.0, 0.0))

    def read(number: int) -> bool:
        rows, cols = slice(number % 50, number % 50 + 20), slice(number % 60, number % 60 + 30)
        moved.read(rows, cols)
        return np.array_equal(plain.read(rows, cols), data[:, rows, cols].astype(np.float32))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(300)))
        threads = len(pool._threads)
    assert len(opened) <= 1 + threads  # warping takes long: there each has its own


def test_bands_that_are_not_asked_for_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = lazy(RasterSource(str(write_raster(tmp_path / "a.tif", texture(0, *SHAPE))), (1, 3)))
    read: list[tuple[int, ...]] = []
    real = RasterSource.read

    def noting(self: RasterSource, rows: slice, cols: slice) -> object:
        read.append(self.bands)
        return real(self, rows, cols)

    monkeypatch.setattr(RasterSource, "read", noting)
    _ = array.isel(band=slice(1), y=slice(5)).values
    assert read == [(1,)]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"SPARSE_OK": True}, id="left out"),
        pytest.param({"compress": "deflate"}, id="of one value"),
        pytest.param({"compress": "deflate", "interleave": "band"}, id="band by band"),
        pytest.param({"compress": "lzw", "predictor": 2}, id="LZW"),
    ],
)
def test_windows_of_which_next_to_nothing_is_stored(
    tmp_path: Path, options: dict[str, object]
) -> None:
    data = texture(0, 2, 512, 768).astype(np.uint16)
    data[:, :256, 256:] = 0
    path = write_raster(
        tmp_path / "a.tif", data, nodata=0, tiled=True, blockxsize=256, blockysize=256, **options
    )
    source = RasterSource(str(path), (1, 2))
    windows = [(slice(top, top + 64), slice(left, left + 64))
               for top in range(0, 449, 64) for left in range(0, 705, 64)]  # fmt: skip
    for rows, cols in windows:
        assert source.blank(rows, cols) == np.isnan(source.read(rows, cols)).all()
    if "compress" in options:  # else a few pixels of blocks that are there are looked at
        assert not source.blank(slice(200, 257), slice(300, 301))
        assert not source.blank(slice(0, 9), slice(255, 257))


@pytest.mark.parametrize(
    ("dtype", "declared", "named", "absent"),
    [
        pytest.param("uint16", 0, None, True, id="nodata"),
        pytest.param("float32", np.nan, None, True, id="NaN"),
        pytest.param("uint16", None, 0, True, id="nodata that the sensor has"),
        pytest.param("uint16", None, None, False, id="zeros that count"),
        pytest.param("uint16", 0, 7, False, id="nodata that another value was named for"),
        pytest.param("uint16", None, 7, False, id="zeros beside a nodata"),
    ],
)
def test_what_is_left_out_is_absent_where_it_means_nodata(
    tmp_path: Path, dtype: str, declared: float | None, named: float | None, absent: bool
) -> None:
    data = np.zeros((2, 128, 192), dtype)
    data[1, :64] = 9  # the first band alone tells
    data[0, 64:, :64] = 9
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=192, height=128, count=2, dtype=dtype, nodata=declared,
        tiled=True, blockxsize=64, blockysize=64, interleave="band", SPARSE_OK=True,
    ) as raster:  # fmt: skip
        for band, top, left in np.ndindex(2, 2, 3):
            block = data[band, 64 * top : 64 * top + 64, 64 * left : 64 * left + 64]
            if block.any():
                raster.write(block, band + 1, window=Window(64 * left, 64 * top, 64, 64))
    source = RasterSource(str(path), (1, 2), nodata=named)
    for top, left in np.ndindex(4, 6):
        rows, cols = slice(32 * top, 32 * top + 32), slice(32 * left, 32 * left + 32)
        nothing = bool(np.isnan(source.read(rows, cols)[0]).all())
        assert source.absent(rows, cols) == nothing
        assert nothing == (absent and not (top >= 2 and left < 2))
    assert not source.absent(slice(0, 65), slice(0, 192))
    assert not replace(source, moved=(0.5, 0.0)).absent(slice(0, 32), slice(0, 32))


@pytest.mark.parametrize("kind", ["nodata", "NaN", "mask", "packed with a mask"])
def test_where_no_index_tells_a_few_pixels_do(tmp_path: Path, kind: str) -> None:
    data = texture(0, 2, 512, 768).astype(np.float32)
    empty = np.zeros(data.shape[1:], bool)
    empty[:256, 256:] = True
    if "mask" not in kind:
        data[:, empty] = np.nan if kind == "NaN" else 0
    path = write_raster(
        tmp_path / "a.tif", data, nodata=0 if kind == "nodata" else None,
        compress="deflate" if "packed" in kind else "none",
    )  # fmt: skip
    if "mask" in kind:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as raster:
            raster.write_mask(~empty)
    source = RasterSource(str(path), (2, 1))
    for top, left in np.ndindex(8, 12):
        rows, cols = slice(64 * top, 64 * top + 64), slice(64 * left, 64 * left + 64)
        assert source.blank(rows, cols) == empty[rows, cols].all()
        assert source.blank(rows, cols) == np.isnan(source.read(rows, cols)).all()


def test_what_is_not_in_a_plain_local_file_is_not_called_blank(tmp_path: Path) -> None:
    nothing = np.zeros((1, 256, 256), np.uint8)
    rows = cols = slice(0, 64)
    packed = write_raster(tmp_path / "packed.tif", nothing, compress="deflate", nodata=0)
    picture = tmp_path / "picture.png"
    rasterio.shutil.copy(packed, picture, driver="PNG")
    assert RasterSource(str(packed), (1,)).blank(rows, cols)
    assert not RasterSource(str(picture), (1,)).blank(rows, cols)
    assert not RasterSource(str(packed), (1,), moved=(0.5, 0.0)).blank(rows, cols)
    assert not RasterSource("s3://nowhere/packed.tif", (1,)).blank(rows, cols)


@pytest.mark.parametrize(
    ("tiled", "width"), [({}, 300), ({"tiled": True, "blockxsize": 64, "blockysize": 32}, 64)]
)
@pytest.mark.parametrize(("interleave", "depth"), [("pixel", 6), ("band", 4)])
def test_what_is_decoded_at_once(
    tmp_path: Path, tiled: dict[str, object], width: int, interleave: str, depth: int
) -> None:
    """Bytes of a pixel: of all bands where they lie together, else of those that are asked for."""
    path = write_raster(
        tmp_path / "a.tif", np.ones((3, 100, 300), np.uint16), interleave=interleave, **tiled
    )
    source = RasterSource(str(path), (1, 3))
    assert (source.blocks().width, source.blocks().depth) == (width, depth)
    assert replace(source, moved=(0.5, 0.0)).blocks().depth == 4


def test_nodata_and_nan_and_alpha_become_nan(tmp_path: Path) -> None:
    data = texture(0, *SHAPE)
    data[1, 10:20] = -9999
    path = write_raster(tmp_path / "nodata.tif", data, nodata=-9999)
    values = lazy(RasterSource(str(path), (1, 2))).values
    assert np.isnan(values[1, 10:20]).all()
    assert np.isfinite(values[0]).all()

    data[1, 10:20] = np.nan
    values = lazy(RasterSource(str(write_raster(tmp_path / "nan.tif", data)), (1, 2))).values
    assert np.isnan(values[1, 10:20]).all()

    rgba = np.full((4, 40, 40), 200, np.uint8)
    rgba[3, :, :15] = 0
    path = write_raster(tmp_path / "rgba.tif", rgba, photometric="RGB", alpha="YES")
    with rasterio.open(path) as raster:
        assert raster.colorinterp[3] is ColorInterp.alpha
    values = lazy(RasterSource(str(path), (1, 2, 3))).values
    assert np.isnan(values[:, :, :15]).all()
    assert (values[:, :, 15:] == 200).all()


def test_a_nodata_value_that_the_file_does_not_know(tmp_path: Path) -> None:
    data = np.full(SHAPE, 7, np.uint16)
    data[0, 3] = 0
    values = lazy(
        RasterSource(str(write_raster(tmp_path / "a.tif", data)), (1, 2), nodata=0)
    ).values
    assert np.isnan(values[0, 3]).all()
    assert np.isfinite(values[1]).all()


def test_scale_and_offset_give_physical_values(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.full(SHAPE, 3000, np.uint16))
    values = lazy(RasterSource(str(path), (1,), scale=1e-4, offset=-0.1)).values
    assert values == pytest.approx(0.2, abs=1e-6)


def test_padding_is_nan_and_the_rest_is_the_raster(tmp_path: Path) -> None:
    data = texture(0, *SHAPE)
    array = lazy(RasterSource(str(write_raster(tmp_path / "a.tif", data)), (1, 2, 3)))
    window = read_padded(array, slice(-5, 30), slice(80, 100))
    expected = np.pad(data, ((0, 0), (5, 0), (0, 10)), constant_values=np.nan)[:, :35, 80:100]
    assert np.array_equal(window, expected, equal_nan=True)
    assert np.isnan(read_padded(array, slice(200, 210), slice(0, 10))).all()


def test_resampling_is_bilinear_whatever_the_window(tmp_path: Path) -> None:
    data = texture(0, *SHAPE)
    path = write_raster(tmp_path / "a.tif", data)
    half_a_pixel_on = GeoBox((69, 89), NORTH_UP @ Affine.translation(0.5, 0.5), UTM)
    array = lazy(RasterSource(str(path), (1, 2, 3), grid=half_a_pixel_on))
    whole = array.values
    corners = data[:, :-1, :-1] + data[:, 1:, :-1] + data[:, :-1, 1:] + data[:, 1:, 1:]
    assert np.allclose(whole, corners / 4, rtol=1e-5)
    for rows, cols in ((slice(0, 20), slice(0, 25)), (slice(20, 50), slice(11, 60))):
        assert np.array_equal(array[:, rows, cols].values, whole[:, rows, cols])


def test_ground_that_the_raster_does_not_cover_is_nan(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.full((1, 40, 40), 9, np.uint8))
    target = GeoBox((60, 60), Affine(10, 0, 499_900, 0, -10, 5_400_100), UTM)
    values = lazy(RasterSource(str(path), (1,), grid=target)).values[0]
    assert np.isnan(values[:10]).all()
    assert np.isnan(values[:, :10]).all()
    assert (values[11:49, 11:49] == 9).all()


def test_a_batch_knows_what_is_valid() -> None:
    data = np.ones((1, 2, 3, 4), np.float32)
    data[0, 1, 2, 3] = np.nan
    batch = TileBatch.from_nan(data)
    assert not batch.valid[0, 2, 3]
    assert batch.valid.sum() == 11
    assert (batch.data[0, :, 2, 3] == 0).all()


@pytest.mark.parametrize("crs", [UTM, None])
@pytest.mark.parametrize("by", [(3.0, -2.0), (0.5, 0.25), (-1.3, 0.0)])
def test_moved_content_against_scipy(
    tmp_path: Path, crs: str | None, by: tuple[float, float]
) -> None:
    """Down and right, by any part of a pixel, with a CRS or without; NaN where nothing was."""
    data = texture(0, 2, 40, 50)
    path = write_raster(tmp_path / "a.tif", data, crs=crs)
    values = lazy(RasterSource(str(path), (1, 2), moved=by)).values
    expected = np.stack([shift(band, by, order=1, cval=np.nan) for band in data])
    known = np.isfinite(expected)
    assert np.abs(values - expected)[known].max() < 1e-2
    # GDAL keeps the outermost half pixel, for which SciPy has nothing to interpolate with.
    assert np.isnan(values).sum() <= (~known).sum()
    whole = [int(part) for part in by]
    beyond = np.isnan(shift(data[0], whole, order=0, cval=np.nan))
    assert np.isnan(values[:, beyond]).all()


def test_moved_windows_are_parts_of_the_moved_whole(tmp_path: Path) -> None:
    data = texture(0, 1, 60, 60)
    data[0, 20:24, 30:40] = np.nan
    path = write_raster(tmp_path / "a.tif", data, crs=None)
    source = RasterSource(str(path), (1,), moved=(0.4, -1.7), resampling=Resampling.cubic)
    whole = source.read(slice(0, 60), slice(0, 60))
    part = source.read(slice(15, 40), slice(10, 50))
    assert np.array_equal(part, whole[:, 15:40, 10:50], equal_nan=True)
    ground = np.nan_to_num(data[0], nan=data[np.isfinite(data)].mean())
    assert np.nanmax(whole) < ground.max() + 100, "what is missing has not leaked in"
    assert np.isnan(whole[0, 21:24, 29:37]).all()


def test_classes_are_not_mixed(tmp_path: Path) -> None:
    data = np.random.default_rng(0).choice([3, 200], (1, 30, 30)).astype("uint8")
    path = write_raster(tmp_path / "a.tif", data)
    source = RasterSource(str(path), (1,), moved=(0.4, 0.3), resampling=Resampling.nearest)
    assert set(np.unique(source.read(slice(0, 30), slice(0, 30)))) == {3, 200}
