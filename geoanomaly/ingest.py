"""An uploaded raster becomes a scene: checked, read once from end to end, written anew.

Later stages open only the file written here. It holds pixels, masks, CRS,
transform and band descriptions of the upload, bit for bit, and nothing else:
none of the tags by which a GeoTIFF can make GDAL open other files or addresses.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.warp import transform_geom
from rasterio.windows import Window

from geoanomaly.errors import SceneError
from geoanomaly.jobs import SceneRecord
from geoanomaly.settings import Settings
from tiling.cog import publish

MAX_BLOCK_BYTES = 512 * 2**20
"""A 33 KB TIFF with one giant block takes a gigabyte to read one pixel."""

MAX_BANDS = 1024
MAX_RATIO = 3000
"""Decoded bytes per byte of file. DEFLATE ends near 1000; what is far above it is a bomb."""

SMALL_BYTES = 256 * 2**20
"""Below this the ratio is not asked: a constant image of this size does no harm."""

READ_ENV = {
    # No sidecar (.aux.xml, .ovr, .msk) of an upload is ever looked for.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": False,
    # A file may name an address to fetch: such a request must end at a closed port.
    "GDAL_HTTP_PROXY": "127.0.0.1:9",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
}

STEP = 1024
WINDOW_BYTES = 256 * 2**20


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


def ingest(
    upload: Path,
    settings: Settings,
    *,
    title: str,
    sensor: str | None = None,
    date: str | None = None,
) -> SceneRecord:
    """Take `upload` into `settings.scenes_dir`; nothing is left there when it fails."""
    scene_id = uuid.uuid4().hex[:12]
    settings.scenes_dir.mkdir(parents=True, exist_ok=True)
    path = settings.scenes_dir / f"{scene_id}.tif"
    plain = path.with_name(f".{scene_id}.plain.tif")
    partial = path.with_name(f".{scene_id}.partial.tif")
    try:
        digest = _rewrite(upload, plain, settings)
        _to_cog(plain, partial, settings.threads)
        _verify(partial, digest)
        publish(partial, path)
    finally:
        plain.unlink(missing_ok=True)
        partial.unlink(missing_ok=True)
    return _record(scene_id, path, title=title, sensor=sensor, date=date)


@contextmanager
def _opened(upload: Path) -> Iterator[rasterio.DatasetReader]:
    with rasterio.Env(**READ_ENV):
        try:
            # GTiff alone: a .tif that is really a VRT would read any file it names. The same
            # goes for an overview that lies in another file.
            source = rasterio.open(upload, driver="GTiff", OVERVIEW_LEVEL="NONE")
        except RasterioError as error:
            raise SceneError(
                f"This is not a GeoTIFF that can be opened ({_plain_words(error, upload)}). "
                "Send a GeoTIFF or COG (.tif); `gdal_translate IN OUT.tif` makes one.",
                field="file",
            ) from error
        with source:
            yield source


def _names(upload: Path) -> tuple[tuple[str | None, ...], tuple[str | None, ...]]:
    """Band descriptions and units: OVERVIEW_LEVEL hides them, and reading them touches no pixel."""
    with rasterio.Env(**READ_ENV), rasterio.open(upload, driver="GTiff") as header:
        return header.descriptions, header.units


def _rewrite(upload: Path, plain: Path, settings: Settings) -> str:
    """Copy every pixel of `upload` to `plain`; the answer is the digest of what was read."""
    with _opened(upload) as source:
        _check_size(source, upload.stat().st_size, settings)
        shape = _shape(source, *_names(upload))
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(plain, "w", **shape.profile) as target,
        ):
            _describe(target, shape)
            digest = hashlib.sha256()
            for window in _windows(source):
                pixels = _read(source, window)
                target.write(pixels, window=window)
                digest.update(np.ascontiguousarray(pixels).data)
                if shape.own_mask:
                    mask = source.dataset_mask(window=window)
                    target.write_mask(mask, window=window)
                    digest.update(np.ascontiguousarray(mask).data)
    return digest.hexdigest()


def _check_size(source: rasterio.DatasetReader, file_bytes: int, settings: Settings) -> None:
    """Refuse what would exhaust the machine, from the header alone."""
    dtypes = set(source.dtypes)
    if len(dtypes) != 1 or np.dtype(source.dtypes[0]).kind == "c":
        raise SceneError(
            f"The samples are {', '.join(sorted(dtypes))}; bands must share one real type. "
            "For complex radar data send the intensity.",
            field="file",
        )
    if source.count > MAX_BANDS:
        raise SceneError(f"{source.count} bands; the limit is {MAX_BANDS}.", field="file")
    pixels = source.width * source.height
    if pixels > settings.max_pixels:
        raise SceneError(
            f"{source.width} x {source.height} is {pixels:,} pixels; the limit is "
            f"{settings.max_pixels:,} (GEOANOMALY_MAX_PIXELS). Cut the scene.",
            field="file",
        )
    _check_bytes(source, pixels, file_bytes)


def _check_bytes(source: rasterio.DatasetReader, pixels: int, file_bytes: int) -> None:
    itemsize = np.dtype(source.dtypes[0]).itemsize
    rows, cols = source.block_shapes[0]
    together = 1 if source.profile.get("interleave") == "band" else source.count
    block = rows * cols * itemsize * together
    if block > MAX_BLOCK_BYTES:
        raise SceneError(
            f"One block of {cols} x {rows} pixels takes {block:,} bytes; the limit is "
            f"{MAX_BLOCK_BYTES:,}. Rewrite it tiled: `gdal_translate -of COG IN OUT.tif`.",
            field="file",
        )
    decoded = pixels * source.count * itemsize
    if decoded > SMALL_BYTES and decoded > MAX_RATIO * file_bytes:
        raise SceneError(
            f"{file_bytes:,} bytes of file claim {decoded:,} bytes of pixels; more than "
            f"{MAX_RATIO} to 1 is not a scene.",
            field="file",
        )


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
    for row in range(0, source.height, STEP):
        for col in range(0, source.width, wide):
            width, height = min(wide, source.width - col), min(STEP, source.height - row)
            yield Window(col, row, width, height)


def _read(source: rasterio.DatasetReader, window: Window) -> np.ndarray[Any, Any]:
    try:
        pixels: np.ndarray[Any, Any] = source.read(window=window)
    except RasterioError as error:
        raise SceneError(
            f"The file opens but its pixels cannot be read at row {window.row_off} of "
            f"{source.height}: it is truncated or damaged. Send it again from the original.",
            field="file",
        ) from error
    return pixels


def _to_cog(plain: Path, partial: Path, threads: int) -> None:
    with rasterio.open(plain) as source:
        categories = source.colorinterp[0] is ColorInterp.palette
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True, **READ_ENV):
        rasterio.shutil.copy(
            plain, partial, driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES", BIGTIFF="IF_SAFER",
            OVERVIEW_RESAMPLING="NEAREST" if categories else "AVERAGE", NUM_THREADS=str(threads),
        )  # fmt: skip


def _verify(partial: Path, expected: str) -> None:
    """On a full disk GDAL may report nothing: read back what was written."""
    digest = hashlib.sha256()
    with rasterio.open(partial, OVERVIEW_LEVEL="NONE") as source:
        own_mask = source.mask_flag_enums[0] == [MaskFlags.per_dataset]
        for window in _windows(source):
            digest.update(np.ascontiguousarray(source.read(window=window)).data)
            if own_mask:
                digest.update(np.ascontiguousarray(source.dataset_mask(window=window)).data)
    if digest.hexdigest() != expected:
        raise OSError(f"{partial} does not hold what was written; is the disk full?")


def _record(
    scene_id: str, path: Path, *, title: str, sensor: str | None, date: str | None
) -> SceneRecord:
    with rasterio.open(path) as scene, path.open("rb") as file:
        return SceneRecord(
            id=scene_id, path=str(path), title=title, sensor=sensor, date=date,
            width=scene.width, height=scene.height, bands=_band_names(scene), dtype=scene.dtypes[0],
            crs=scene.crs.to_string() if scene.crs else None, footprint=_footprint(scene),
            sha256=hashlib.file_digest(file, "sha256").hexdigest(), created=datetime.now(UTC),
        )  # fmt: skip


def _footprint(scene: rasterio.DatasetReader) -> dict[str, Any] | None:
    """The outline of the grid in WGS 84; None for a raster without CRS."""
    if not scene.crs:
        return None
    # Nine points a side: a straight edge in the scene's CRS is a curve in degrees.
    steps = np.linspace(0.0, 1.0, 9)[:-1]
    edge = [(t, 0.0) for t in steps] + [(1.0, t) for t in steps]
    edge += [(1 - t, 1.0) for t in steps] + [(0.0, 1 - t) for t in steps]
    ring = [_corner(scene, x, y) for x, y in [*edge, edge[0]]]
    outline: dict[str, Any] = transform_geom(
        scene.crs, "EPSG:4326", {"type": "Polygon", "coordinates": [ring]}
    )
    return outline


def _corner(scene: rasterio.DatasetReader, x: float, y: float) -> tuple[float, float]:
    """A place on the grid (0 to 1 across and down) in the scene's CRS."""
    grid, col, row = scene.transform, x * scene.width, y * scene.height
    return (grid.a * col + grid.b * row + grid.c, grid.d * col + grid.e * row + grid.f)


def _plain_words(error: Exception, upload: Path) -> str:
    """GDAL's message without the temporary path, which means nothing to the user."""
    return str(error).replace(str(upload), "the file").strip().rstrip(".")


def _band_names(scene: rasterio.DatasetReader) -> tuple[str, ...]:
    return tuple(text or f"band {i}" for i, text in enumerate(scene.descriptions, 1))
