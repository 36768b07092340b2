"""Rasters as lazy xarray arrays on a grid: pixels are read window by window, when asked for.

A `RasterSource` is a recipe and travels between processes. Handles stay in the process that
opened them and serve one thread at a time, because GDAL's are neither thread-safe nor picklable.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.windows
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Interleaving, MaskFlags, Resampling
from rasterio.errors import RasterBlockError
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from xarray.backends import BackendArray
from xarray.core import indexing

PROBES = 8
"""Pixels on each side of a window that are looked at to say whether it is empty."""

TRACE = 0.01
"""Of a block's bytes: one value everywhere packs to less, what a sensor saw does not."""

# A grid without CRS is moved in pixels; GDAL only has to be told that both ends are alike.
_PIXELS = CRS.from_wkt('LOCAL_CS["pixels",UNIT["metre",1]]')


@dataclass(frozen=True)
class RasterSource:
    """Bands of a raster, on its own grid or on another.

    href: path or URL that GDAL opens; bands: 1-based indexes.
    grid: where the pixels are wanted; None = the raster's own grid.
    nodata: overrides the file's own value (for all bands).
    scale, offset: applied to digital numbers, one pair for all bands.
    moved: (rows, columns) in pixels of the grid by which the content lies further down
        and right than the file says.
    resampling: on another grid, or when moved.
    """

    href: str
    bands: tuple[int, ...]
    grid: GeoBox | None = None
    nodata: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    moved: tuple[float, float] = (0.0, 0.0)
    resampling: Resampling = Resampling.bilinear

    @property
    def warped(self) -> bool:
        return self.grid is not None or self.moved != (0.0, 0.0)

    @property
    def local(self) -> bool:
        """Is it a file here, and no address?"""
        return _stamp(self.href) is not None

    @property
    def _indexed(self) -> bool:
        """Is it a file here, on its own grid, that says which of its blocks it stores?"""
        if self.warped or not self.local:
            return False
        with handle(self) as raster:
            return bool(raster.driver == "GTiff")

    def geobox(self) -> GeoBox:
        if self.grid is not None:
            return self.grid
        with rasterio.open(self.href) as raster:
            return GeoBox(raster.shape, raster.transform, raster.crs)

    def read(self, rows: slice, cols: slice) -> NDArray[np.float32]:
        """Values of a window inside the grid, float32 (band, y, x), NaN where there are none."""
        window = rasterio.windows.Window.from_slices(rows, cols)
        with handle(self) as raster:
            native: NDArray[Any] = raster.read(self.bands, window=window)
            invalid = _invalid(raster, self.bands, window, native, self.nodata)
        data: NDArray[np.float32] = native.astype(np.float32, copy=False)
        if (self.scale, self.offset) != (1.0, 0.0):
            data = data * np.float32(self.scale) + np.float32(self.offset)
        if invalid is not None:
            data[invalid] = np.nan
        return data

    def absent(self, rows: slice, cols: slice) -> bool:
        """Is it sure that a window inside the grid has no value in the first band?

        So it is where the file leaves out all blocks, and what is left out means nodata. False
        where a network would have to be asked.
        """
        if not self._indexed:
            return False
        with handle(self) as raster:
            declared = raster.nodatavals[self.bands[0] - 1]
            nodata = declared if self.nodata is None else self.nodata
            # What GDAL reads where there is no block.
            fill = 0 if declared is None else declared
            if nodata is None or not np.array_equal(fill, nodata, equal_nan=True):
                return False
            return not _most_stored(raster, rows, cols)

    def blank(self, rows: slice, cols: slice) -> bool:
        """Does the file seem to hold no value in a window inside the grid?

        Its index of blocks tells, without a pixel being read, where nodata is packed; else a few
        pixels or its mask do. False where a network would have to be asked.
        """
        if not self._indexed:
            return False
        with handle(self) as raster:
            nothing = _most_stored(raster, rows, cols) < TRACE
            if nothing or (raster.compression is not None and not _masked(raster)):
                return nothing
        first = replace(self, bands=self.bands[:1])
        return bool(np.isnan(first.glance(rows, cols, (PROBES, PROBES))).all())

    def glance(self, rows: slice, cols: slice, shape: tuple[int, int]) -> NDArray[np.float32]:
        """The nearest digital numbers of a window inside the grid, float32 (band, y, x) of a
        (y, x) `shape`, NaN where there are none by the file's own mask."""
        nearest = {
            "window": rasterio.windows.Window.from_slices(rows, cols),
            "resampling": Resampling.nearest,
        }
        with handle(self) as raster:
            seen = raster.read(self.bands, out_shape=(len(self.bands), *shape), **nearest)
            valid = raster.read_masks(self.bands[0], out_shape=shape, **nearest) > 0
        seen = seen.astype(np.float32)
        seen[:, ~(valid & np.isfinite(seen).all(axis=0))] = np.nan
        return np.asarray(seen)

    def blocks(self) -> Blocks:
        """What is decoded at once when a pixel is asked for."""
        with handle(self) as raster:
            together = not self.warped and raster.interleaving is Interleaving.pixel
            bands = raster.count if together else len(self.bands)
            depth = bands * np.dtype(raster.dtypes[0]).itemsize
            return Blocks(raster.block_shapes[0][1], depth)

    def open(self) -> Any:
        """The raster on its grid, as rasterio gives it; the caller closes it."""
        raster = rasterio.open(self.href)
        if not self.warped:
            return raster
        grid = self.grid or GeoBox(raster.shape, raster.transform, raster.crs)
        crs, (down, right) = grid.crs or _PIXELS, self.moved
        nodata = self.nodata if self.nodata is not None else raster.nodata
        floating = np.issubdtype(np.dtype(raster.dtypes[0]), np.floating)
        if nodata is None and floating:
            nodata = float("nan")  # else NaN pixels would smear through the interpolation
        return WarpedVRT(
            raster,
            src_crs=raster.crs if self.grid else crs,
            src_transform=raster.transform,
            crs=crs,
            transform=grid.affine * Affine.translation(-right, -down),
            height=grid.shape[0],
            width=grid.shape[1],
            resampling=self.resampling,
            src_nodata=nodata,
            nodata=nodata,
            # Without nodata or alpha, pixels outside the source would read as plain zeros.
            add_alpha=nodata is None and ColorInterp.alpha not in raster.colorinterp,
            # In pixels; the default of 1/8 would be a misregistration of its own.
            tolerance=1e-3,
        )


@dataclass(frozen=True)
class Blocks:
    """width: in pixels; depth: bytes of a pixel in all bands that are decoded with it."""

    width: int
    depth: int


def _masked(raster: Any) -> bool:
    return any(MaskFlags.per_dataset in flags for flags in raster.mask_flag_enums)


def _most_stored(raster: Any, rows: slice, cols: slice) -> float:
    """Of a window's blocks, for that of which most is stored, the share of its bytes."""
    height, width = raster.block_shapes[0]
    bands = raster.count if raster.interleaving is Interleaving.pixel else 1
    whole: int = height * width * bands * np.dtype(raster.dtypes[0]).itemsize
    return max(
        stored(raster, row, col) / whole
        for row in range(rows.start // height, -(-rows.stop // height))
        for col in range(cols.start // width, -(-cols.stop // width))
    )


def stored(raster: Any, row: int, col: int) -> int:
    """Bytes of a block of the first band, as compressed; 0 if it is left out."""
    try:
        return int(raster.block_size(1, row, col))
    except RasterBlockError:
        return 0


def _invalid(
    raster: Any,
    bands: tuple[int, ...],
    window: rasterio.windows.Window,
    native: NDArray[Any],
    nodata: float | None,
) -> NDArray[np.bool_] | None:
    """Which values just read are none, (band, y, x): NaN, nodata, by alpha or mask bands.

    None where the raster has no such thing. GDAL's own mask of a band knows alpha only in
    some layouts of 8 and 16 bits, and one kind of validity at a time, so each kind is
    looked up here.
    """
    kinds = raster.colorinterp
    alpha = kinds.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in kinds else None
    values = [raster.nodatavals[band - 1] if nodata is None else nodata for band in bands]
    masked = alpha is None and any(
        MaskFlags.per_dataset in raster.mask_flag_enums[band - 1] for band in bands
    )
    whole = np.issubdtype(native.dtype, np.integer)
    if whole and values == [None] * len(values) and alpha in (None, *bands) and not masked:
        return None
    invalid = np.zeros(native.shape, dtype=bool) if whole else ~np.isfinite(native)
    for band_values, band_invalid, value in zip(native, invalid, values, strict=True):
        if value is not None:
            band_invalid |= band_values == value
    if masked:
        invalid |= raster.read_masks(bands, window=window) == 0
    elif alpha is not None and alpha not in bands:  # else data that GDAL takes for alpha
        invalid |= raster.read(alpha, window=window) == 0
    return invalid


MAX_HANDLES = 8
"""Rasters that stay open: who reads window by window needs their blocks again."""


class _Rasters:
    """Open rasters, until others crowd them out."""

    def __init__(self) -> None:
        self._opened: OrderedDict[Any, Any] = OrderedDict()

    @contextmanager
    def use(self, source: RasterSource) -> Iterator[Any]:
        """A file that was replaced is opened anew, and so is one whose last use failed."""
        opened = self._opened
        # Of all its bands: some may be asked for alone.
        key = (replace(source, bands=()), os.getpid(), _stamp(source.href))
        if key not in opened:
            opened[key] = source.open()
            if len(opened) > MAX_HANDLES:
                opened.popitem(last=False)[1].close()
        opened.move_to_end(key)
        try:
            yield opened[key]
        except BaseException:
            opened.pop(key).close()
            raise

    def close(self) -> None:
        while self._opened:
            self._opened.popitem()[1].close()


_shared, _turn = _Rasters(), threading.Lock()
_own = threading.local()

# A child must not inherit the lock as some thread of its parent held it.
os.register_at_fork(
    before=_turn.acquire, after_in_parent=_turn.release, after_in_child=_turn.release
)


def close_rasters() -> None:
    """Let go of what threads share, and of its blocks, which nobody will ask for again."""
    with _turn:
        _shared.close()


@contextmanager
def handle(source: RasterSource) -> Iterator[Any]:
    """The raster of a source, kept open.

    Threads that score neighbouring tiles need the same blocks: they share the handle of a
    plain local file, else each would decode all of them. Warping takes too long for that, and
    a network answers many at once: there each thread has its own.
    """
    if source.warped or not source.local:
        with _own.__dict__.setdefault("rasters", _Rasters()).use(source) as raster:
            yield raster
        return
    with _turn, _shared.use(source) as raster:
        yield raster


def _stamp(href: str) -> tuple[int, int] | None:
    """What changes with a local file."""
    try:
        found = Path(href).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


class _WindowedArray(BackendArray):
    """The adapter through which xarray asks a source for windows."""

    def __init__(self, source: RasterSource) -> None:
        self.source = source
        self.shape = (len(source.bands), *source.geobox().shape)
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> NDArray[np.float32]:
        band, rows, cols = key
        chosen = _span(band, self.shape[0])
        source = replace(self.source, bands=self.source.bands[chosen])
        return source.read(_span(rows, self.shape[1]), _span(cols, self.shape[2]))[
            _step(band), _step(rows), _step(cols)
        ]


def _span(key: int | slice, size: int) -> slice:
    """The contiguous range that covers a key."""
    if not isinstance(key, slice):
        return slice(int(key), int(key) + 1)
    indexes = range(*key.indices(size))
    return slice(min(indexes), max(indexes) + 1) if indexes else slice(0, 0)


def _step(key: int | slice) -> int | slice:
    """What is left of a key after its covering range was read."""
    return slice(None, None, key.step) if isinstance(key, slice) else 0


def open_lazy(source: RasterSource, band_names: tuple[str, ...]) -> xr.DataArray:
    """A source as float32 (band, y, x), NaN = nodata; no pixel is read before it is asked for.

    The georeference is kept as attribute "geobox".
    """
    geobox = source.geobox()
    variable = xr.Variable(("band", "y", "x"), indexing.LazilyIndexedArray(_WindowedArray(source)))
    return xr.DataArray(
        variable, coords={"band": list(band_names)}, attrs={"geobox": geobox}, fastpath=False
    )


def read_padded(array: xr.DataArray, rows: slice, cols: slice) -> NDArray[np.float32]:
    """A window that may reach beyond the array: float32 (band, y, x), NaN outside."""
    bands, height, width = array.shape
    inside_rows = slice(max(rows.start, 0), max(min(rows.stop, height), 0))
    inside_cols = slice(max(cols.start, 0), max(min(cols.stop, width), 0))
    if (inside_rows, inside_cols) == (rows, cols):
        return np.asarray(array.isel(y=rows, x=cols).values)
    out = np.full((bands, rows.stop - rows.start, cols.stop - cols.start), np.nan, np.float32)
    if inside_rows.start < inside_rows.stop and inside_cols.start < inside_cols.stop:
        target = (
            slice(inside_rows.start - rows.start, inside_rows.stop - rows.start),
            slice(inside_cols.start - cols.start, inside_cols.stop - cols.start),
        )
        out[:, *target] = array.isel(y=inside_rows, x=inside_cols).values
    return out
