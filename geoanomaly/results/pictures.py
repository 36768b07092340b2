"""A heatmap and its scenes as pictures of a bounded size, on one grid."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from geoanomaly.results.legend import LEVELS, coloured

Picture = NDArray[np.uint8]
"""RGBA, (y, x, 4)."""


@dataclass(frozen=True)
class Backdrop:
    """A scene to draw under a heatmap. title: our own word for it.

    bands: 1-based, three (red, green, blue) or one; stretch: (low, high) of each.
    """

    title: str
    path: Path
    bands: tuple[int, ...]
    stretch: tuple[tuple[float, float], ...]


def picture_grid(heatmap: Path, side: int, crs: str | None) -> GeoBox:
    """The heatmap's place, at most `side` pixels long, in a CRS or in its own (None)."""
    with rasterio.open(heatmap) as raster:
        grid = GeoBox(raster.shape, raster.transform, raster.crs)
    if crs is not None and grid.crs is not None:
        grid = grid.to_crs(crs)
    longer = max(grid.shape)
    return grid.zoom_out(longer / side) if longer > side else grid


def heat_picture(heatmap: Path, grid: GeoBox) -> Picture:
    """In the colours of the ramp; transparent where it is ordinary or unknown."""
    # As in the overviews: a single hot pixel must not stand for a whole field.
    return coloured(_read(heatmap, (1,), grid, Resampling.average)[0])


def level_picture(heatmap: Path, grid: GeoBox) -> Picture:
    """Surprise as `LEVELS` of grey; transparent where it is unknown."""
    values = _read(heatmap, (1,), grid, Resampling.average)[0]
    levels = np.nan_to_num(np.clip(values * LEVELS, 0, 255)).astype(np.uint8)
    return np.stack(
        [levels] * 3 + [np.where(np.isfinite(values), 255, 0).astype(np.uint8)], axis=-1
    )


def scene_picture(scene: Backdrop, grid: GeoBox) -> Picture:
    data = _read(scene.path, scene.bands, grid, Resampling.bilinear)
    lows, highs = (np.array(part)[:, None, None] for part in zip(*scene.stretch, strict=True))
    known: NDArray[np.bool_] = np.asarray(np.isfinite(data).all(axis=0))
    with np.errstate(invalid="ignore"):
        levels = np.clip((data - lows) / np.maximum(highs - lows, 1e-12), 0, 1)
    colours = np.broadcast_to(np.nan_to_num(levels) * 255, (3, *data.shape[1:]))
    return np.moveaxis(np.concatenate([colours, known[None] * 255]), 0, -1).astype(np.uint8)


def _read(
    path: Path, bands: Sequence[int], grid: GeoBox, resampling: Resampling
) -> NDArray[np.float64]:
    """Bands on a grid, NaN where there is nothing."""
    with rasterio.open(path) as raster:
        if grid.crs is None or raster.crs is None:
            data = raster.read(
                list(bands), out_shape=(len(bands), *grid.shape), resampling=resampling, masked=True
            )
        else:
            # Of the heatmap's NaN only what is declared would be left out of the interpolation.
            with WarpedVRT(
                raster, crs=grid.crs, transform=grid.affine, height=grid.shape[0],
                width=grid.shape[1], resampling=resampling, add_alpha=raster.nodata is None,
            ) as warped:  # fmt: skip
                data = warped.read(list(bands), masked=True)
                if raster.nodata is None:
                    data = np.ma.array(data, mask=np.broadcast_to(_beyond(warped), data.shape))
    return np.asarray(np.ma.filled(data.astype(np.float64), np.nan))


def _beyond(warped: Any) -> NDArray[np.bool_]:
    return np.asarray(warped.dataset_mask() == 0)


def encoded(picture: Picture, kind: str) -> bytes:
    """kind: "png", or "webp", which is small for scenes and loses a little."""
    from matplotlib.image import imsave  # half a second to import

    target = io.BytesIO()
    options = {"quality": 85, "method": 2} if kind == "webp" else {"compress_level": 4}
    imsave(target, picture, format=kind, pil_kwargs=options)
    return target.getvalue()
