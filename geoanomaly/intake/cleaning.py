"""A raster of a stranger's, checked, read once from end to end, and written anew.

Runs in a child of the sandbox. What is written holds pixels, masks, CRS, transform and
what is said of the bands, bit for bit, and nothing else: none of the tags by which a
GeoTIFF can make GDAL open other files or addresses.
"""

from __future__ import annotations

import errno
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import CRSError, RasterioError
from rasterio.windows import Window

from geoanomaly.errors import SceneError
from geoanomaly.scenes.areas import names_a_file

MAX_BLOCK_BYTES = 64 * 2**20
"""A 33 KB TIFF with one giant block takes a gigabyte to read one pixel."""

MAX_BLOCKS = 4_000_000
"""Offset and length of each block are read at once."""

MAX_BANDS = 1024
MAX_RATIO = 3000
"""Decoded bytes per byte of file. DEFLATE ends near 1000; what is far above it is a bomb."""

SMALL_BYTES = 64 * 2**20
"""Below this the ratio is not asked: a constant image of this size does no harm."""

MAX_COORDINATE = 1e12
"""Beyond it no CRS has places, and arithmetic on pixels loses them."""

STEP = 1024
WINDOW_BYTES = 48 * 2**20


@dataclass(frozen=True)
class Raw:
    """A raster as it came. name, field: what to call it, and of which input errors are.

    drivers: of GDAL, that may open it.
    """

    path: Path
    name: str
    drivers: Sequence[str]
    field: str = "file"

    @contextmanager
    def open(self, **options: str) -> Iterator[rasterio.DatasetReader]:
        with self._opened(options) as source:
            yield source

    def _opened(self, options: dict[str, str]) -> rasterio.DatasetReader:
        # Named drivers alone: a .tif that is really a VRT would read any file it names.
        reasons = []
        for driver in self.drivers:
            try:
                return rasterio.open(self.path, driver=driver, **options)
            except (RasterioError, CRSError) as error:
                reasons.append(error)
        raise SceneError(
            f"{self.name} is not a GeoTIFF that can be opened ({self._words(reasons[0])}). "
            "Send a GeoTIFF or COG (.tif); `gdal_translate IN OUT.tif` makes one.",
            field=self.field,
        ) from reasons[0]

    def _words(self, error: Exception) -> str:
        """GDAL's message without the temporary path, which means nothing to the user."""
        return str(error).replace(str(self.path), "the file").strip().rstrip(".")

    def refuse(self, text: str) -> SceneError:
        return SceneError(f"{self.name}: {text}", field=self.field)


@dataclass(frozen=True)
class Size:
    """decoded: bytes of all pixels."""

    pixels: int
    decoded: int


@dataclass(frozen=True)
class _Shape:
    """What has to be known of a raster to write it again."""

    profile: dict[str, Any]
    descriptions: tuple[str | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    units: tuple[str | None, ...]
    colours: tuple[ColorInterp, ...]
    palette: dict[int, tuple[int, int, int, int]] | None
    own_mask: bool


def examine(raw: Raw, max_pixels: int) -> Size:
    """From the header alone: refuse what would exhaust the machine, or has no place on earth."""
    with raw.open() as source:
        _check_samples(source, raw)
        pixels = source.width * source.height
        if pixels > max_pixels:
            raise raw.refuse(
                f"{source.width} x {source.height} is {pixels:,} pixels; the limit is "
                f"{max_pixels:,} (GEOANOMALY_MAX_PIXELS). Cut the scene."
            )
        decoded = pixels * source.count * np.dtype(source.dtypes[0]).itemsize
        _check_bytes(source, decoded, raw)
        _check_place(source, raw)
    return Size(pixels, decoded)


def _check_samples(source: rasterio.DatasetReader, raw: Raw) -> None:
    if source.count == 0:
        raise raw.refuse("it has no bands. Give a raster with at least one.")
    if source.count > MAX_BANDS:
        raise raw.refuse(f"{source.count} bands; the limit is {MAX_BANDS}.")
    dtypes = set(source.dtypes)
    if len(dtypes) != 1 or np.dtype(source.dtypes[0]).kind not in "iuf":
        raise raw.refuse(
            f"the samples are {', '.join(sorted(dtypes))}; bands must share one real type. "
            "For complex radar data send the intensity."
        )


def _check_bytes(source: rasterio.DatasetReader, decoded: int, raw: Raw) -> None:
    rows, cols = source.block_shapes[0]
    together = 1 if source.profile.get("interleave") == "band" else source.count
    block = rows * cols * np.dtype(source.dtypes[0]).itemsize * together
    if block > MAX_BLOCK_BYTES:
        raise raw.refuse(
            f"one block of {cols} x {rows} pixels takes {block:,} bytes; the limit is "
            f"{MAX_BLOCK_BYTES:,}. Rewrite it tiled: `gdal_translate -of COG IN OUT.tif`."
        )
    blocks = math.ceil(source.height / rows) * math.ceil(source.width / cols)
    blocks *= source.count // together
    if blocks > MAX_BLOCKS:
        raise raw.refuse(
            f"it has {blocks:,} blocks of {cols} x {rows} pixels; the limit is {MAX_BLOCKS:,}. "
            "Rewrite it in larger ones: `gdal_translate -of COG IN OUT.tif`."
        )
    file_bytes = raw.path.stat().st_size
    if decoded > SMALL_BYTES and decoded > MAX_RATIO * file_bytes:
        raise raw.refuse(
            f"{file_bytes:,} bytes of file claim {decoded:,} bytes of pixels; more than "
            f"{MAX_RATIO} to 1 is not a scene."
        )


def _check_place(source: rasterio.DatasetReader, raw: Raw) -> None:
    """The grid must be one that arithmetic can be done with."""
    grid = source.transform
    places = [grid * (x, y) for x in (0, source.width) for y in (0, source.height)]
    flat = [value for place in places for value in place]
    if not all(math.isfinite(value) and abs(value) < MAX_COORDINATE for value in flat):
        raise raw.refuse(
            f"its grid ({_numbers(grid)}) reaches to no place on earth. Assign the right one: "
            "`gdal_edit.py -a_ullr ULX ULY LRX LRY FILE`."
        )
    if not abs(grid.determinant) > 0:
        raise raw.refuse(f"its grid ({_numbers(grid)}) has pixels without an area.")
    try:
        crs = source.crs.to_wkt() if source.crs else ""
    except CRSError as error:
        raise raw.refuse(f"its CRS cannot be understood ({error}).") from None
    if names_a_file(crs):
        raise raw.refuse(
            "its CRS names a file of grid shifts. Assign one by its code: "
            "`gdal_edit.py -a_srs EPSG:... FILE`."
        )


def _numbers(grid: Any) -> str:
    return ", ".join(f"{value:g}" for value in tuple(grid)[:6])


def rewrite(raw: Raw, folder: Path, tell: Callable[[float], None]) -> Path:
    """Write `clean.tif` into `folder`. tell: what share of the work is done.

    OSError when what was written is not what was read: the disk is full, for instance.
    """
    plain, clean = folder / "plain.tif", folder / "clean.tif"
    digest = _copy(raw, plain, lambda share: tell(0.6 * share))
    _to_cog(plain, clean)
    plain.unlink()
    tell(0.9)
    _verify(clean, digest)
    return clean


def _copy(raw: Raw, plain: Path, tell: Callable[[float], None]) -> str:
    """Every pixel into a plain file; the answer is the digest of what was read."""
    # An overview may lie in another file.
    with raw.open(OVERVIEW_LEVEL="NONE") as source:
        shape = _shape(source, *_names(raw))
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(plain, "w", **shape.profile) as target,
        ):
            _describe(target, shape)
            digest = hashlib.sha256()
            for window in _windows(source):
                pixels = _read(source, window, raw)
                target.write(pixels, window=window)
                digest.update(np.ascontiguousarray(pixels).data)
                if shape.own_mask:
                    mask = source.dataset_mask(window=window)
                    target.write_mask(mask, window=window)
                    digest.update(np.ascontiguousarray(mask).data)
                tell((window.row_off + window.height) / source.height)
    return digest.hexdigest()


def _names(raw: Raw) -> tuple[tuple[str | None, ...], tuple[str | None, ...]]:
    """Band descriptions and units: OVERVIEW_LEVEL hides them, and reading them touches no pixel."""
    with raw.open() as header:
        return header.descriptions, header.units


def _shape(
    source: rasterio.DatasetReader,
    descriptions: tuple[str | None, ...],
    units: tuple[str | None, ...],
) -> _Shape:
    palette = source.colormap(1) if source.colorinterp[0] is ColorInterp.palette else None
    profile = {
        "driver": "GTiff", "width": source.width, "height": source.height,
        "count": source.count, "dtype": source.dtypes[0], "nodata": source.nodata,
        "crs": source.crs, "transform": source.transform,
        "tiled": True, "blockxsize": 512, "blockysize": 512, "interleave": "band",
        "compress": "zstd", "zstd_level": 1, "bigtiff": "if_safer",
    }  # fmt: skip
    # nodata and alpha travel by themselves; a mask of its own has to be copied.
    own_mask = source.mask_flag_enums[0] == [MaskFlags.per_dataset]
    return _Shape(
        profile, descriptions, source.scales, source.offsets, units,
        source.colorinterp, palette, own_mask,
    )  # fmt: skip


def _describe(target: rasterio.io.DatasetWriter, shape: _Shape) -> None:
    target.scales, target.offsets = shape.scales, shape.offsets
    # A palette is written with its table; GDAL refuses it as a bare interpretation.
    if shape.palette is not None:
        target.write_colormap(1, shape.palette)
    else:
        target.colorinterp = shape.colours
    for index, (text, unit) in enumerate(zip(shape.descriptions, shape.units, strict=True), 1):
        if text:
            target.set_band_description(index, text)
        if unit:
            target.set_band_unit(index, unit)


def _windows(source: rasterio.DatasetReader) -> Iterator[Window]:
    """All pixels once. The order depends on the shape alone, so two digests can be compared."""
    # A wide scene of many bands is read in columns too, so that memory stays bounded.
    wide = max(STEP, WINDOW_BYTES // (STEP * source.count * 8) // STEP * STEP)
    # More bands than fit into that are read in fewer rows.
    high = max(64, min(STEP, WINDOW_BYTES // (STEP * source.count * 8) // 64 * 64))
    for row in range(0, source.height, high):
        for col in range(0, source.width, wide):
            width, height = min(wide, source.width - col), min(high, source.height - row)
            yield Window(col, row, width, height)


def _read(source: rasterio.DatasetReader, window: Window, raw: Raw) -> np.ndarray[Any, Any]:
    try:
        pixels: np.ndarray[Any, Any] = source.read(window=window)
    except RasterioError as error:
        raise SceneError(
            f"{raw.name} opens but its pixels cannot be read at row {window.row_off} of "
            f"{source.height}: it is truncated or damaged. Send it again from the original.",
            field=raw.field,
        ) from error
    return pixels


def _to_cog(plain: Path, clean: Path) -> None:
    with rasterio.open(plain) as source:
        categories = source.colorinterp[0] is ColorInterp.palette
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        rasterio.shutil.copy(
            plain, clean, driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES", BIGTIFF="IF_SAFER",
            OVERVIEW_RESAMPLING="NEAREST" if categories else "AVERAGE",
        )  # fmt: skip


def _verify(clean: Path, expected: str) -> None:
    """On a full disk GDAL may report nothing: read back what was written."""
    digest = hashlib.sha256()
    with rasterio.open(clean, OVERVIEW_LEVEL="NONE") as source:
        own_mask = source.mask_flag_enums[0] == [MaskFlags.per_dataset]
        for window in _windows(source):
            digest.update(np.ascontiguousarray(source.read(window=window)).data)
            if own_mask:
                digest.update(np.ascontiguousarray(source.dataset_mask(window=window)).data)
    if digest.hexdigest() != expected:
        raise OSError(errno.ENOSPC, f"{clean.name} does not hold what was written")
