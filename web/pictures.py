"""Small pictures for lists and for the map on which a job is prepared.

All are drawn in the same colours as the layers of a finished job, and answered with
an ETag: a scene never changes under its id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import rasterio
from fastapi import Request, Response
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.windows import Window
from rio_tiler.errors import TileOutsideBounds
from rio_tiler.io import Reader
from rio_tiler.utils import render

from geoanomaly.results.legend import coloured
from web.layers import Style, scene_styles

SIDE = 176
"""Longer side of a thumbnail: 88 points on a screen of twice the density."""

DEEPEST = 30
SPECK = 4
"""Zoom levels above the one at which a raster fills a tile."""

NO_PICTURE = np.full((3, 1, 1), 128, np.uint8)
YEAR = "private, max-age=31536000, immutable"

Pixels = NDArray[np.uint8]


def picture(request: Request, version: str, draw: Callable[[], bytes]) -> Response:
    """A PNG that is drawn only for those who do not have it."""
    tag = f'"{hashlib.sha256(version.encode()).hexdigest()[:20]}"'
    headers = {"ETag": tag, "Cache-Control": YEAR}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(draw(), media_type="image/png", headers=headers)


@lru_cache(maxsize=512)
def scene_thumbnail(path: str, sensor: str | None) -> bytes:
    with rasterio.open(path) as raster:
        whole = Window(0, 0, raster.width, raster.height)
        return _png(*_drawn(raster, whole, _first_style(path, sensor), _fitted(raster.shape)))


def scene_tile(path: str, sensor: str | None, x: int, y: int, z: int) -> bytes:
    """A tile of the web map; TileOutsideBounds where the scene is not."""
    style = _first_style(path, sensor)
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), Reader(path) as reader:
        _check_tile(x, y, z)
        if z < reader.minzoom - SPECK:
            # Without overviews GDAL would warp the whole tile at the raster's own pixel size.
            return no_picture()
        image = reader.tile(x, y, z, indexes=style.bands)
    image.rescale(style.stretch)
    found: bytes = image.render(img_format="PNG", zlevel=1)
    return found


def _check_tile(x: int, y: int, z: int) -> None:
    if not (0 <= z <= DEEPEST and 0 <= x < 2**z and 0 <= y < 2**z):
        raise TileOutsideBounds(f"There is no tile {z}/{x}/{y}: zooms are 0 to {DEEPEST}.")


def job_thumbnail(scene: Path, sensor: str | None, heatmap: Path | None) -> bytes:
    """The scene, and the heatmap over the part of it that the job covers."""
    if heatmap is None:
        return scene_thumbnail(str(scene), sensor)
    style = _first_style(str(scene), sensor)
    with rasterio.open(heatmap) as heat, rasterio.open(scene) as raster:
        shape = _fitted(heat.shape)
        values = heat.read(1, out_shape=shape, resampling=Resampling.average)
        # The heatmap has the scene's grid, or a part of it.
        col, row = ~raster.transform * (heat.transform.c, heat.transform.f)
        window = Window(round(col), round(row), heat.width, heat.height)
        colours, mask = _drawn(raster, window, style, shape)
    return _png(_laid_over(colours, values), mask)


def no_picture() -> bytes:
    """For a job whose scene is gone: a list with broken images looks like a broken service."""
    return _png(NO_PICTURE, np.zeros((1, 1), np.uint8))


def _first_style(path: str, sensor: str | None) -> Style:
    return scene_styles(Path(path), sensor)[0]


def _fitted(shape: tuple[int, int]) -> tuple[int, int]:
    step = max(1.0, max(shape) / SIDE)
    return max(1, round(shape[0] / step)), max(1, round(shape[1] / step))


def _drawn(
    raster: rasterio.DatasetReader, window: Window, style: Style, shape: tuple[int, int]
) -> tuple[Pixels, Pixels]:
    """(3, y, x) colours and (y, x) mask, 255 where there is a value."""
    bands = list(style.bands)
    data = raster.read(bands, window=window, out_shape=(len(bands), *shape), masked=True)
    low, high = np.asarray(style.stretch, float).T[:, :, None, None]
    values = np.nan_to_num(data.astype(float).filled(np.nan))
    colours = (np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    valid = ~np.ma.getmaskarray(data).any(axis=0) & np.isfinite(data.data).all(axis=0)
    return np.broadcast_to(colours, (3, *shape)), valid.astype(np.uint8) * 255


def _laid_over(colours: Pixels, surprise: NDArray[np.float32]) -> Pixels:
    """The heatmap's ramp over a picture; no value, no colour."""
    top = coloured(surprise).astype(float)
    share = top[..., 3] / 255
    return (colours * (1 - share) + np.moveaxis(top[..., :3], -1, 0) * share).astype(np.uint8)


def _png(colours: Pixels, mask: Pixels) -> bytes:
    found: bytes = render(np.ascontiguousarray(colours), mask, img_format="PNG", zlevel=6)
    return found
