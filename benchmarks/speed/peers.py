"""What people write or use instead, each with the same network on the same scene.

None of them knows calibration, resumption or areas; each writes its scores as one GeoTIFF.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

Surprise = Callable[[NDArray[np.float32]], NDArray[np.float32]]
Array = NDArray[np.float32]


def small_tiles(scene: str, out: Path, surprise: Surprise, halo: int) -> None:
    """Per-tile loop of the on-board design (RaVAEn): 32 x 32 pixels, stacked, no overlap."""
    side, stacked = 32, 64
    with rasterio.open(scene) as raster:
        result = np.full(raster.shape, np.nan, np.float32)
        windows = [
            Window(left, top, side, side)
            for top in range(0, raster.height - side + 1, side)
            for left in range(0, raster.width - side + 1, side)
        ]
        around = ((0, 0), (halo, halo), (halo, halo))
        for first in range(0, len(windows), stacked):
            some = windows[first : first + stacked]
            tiles = [np.pad(_read(raster, window), around, mode="reflect") for window in some]
            for window, found in zip(some, surprise(np.stack(tiles)), strict=True):
                result[window.toslices()] = found
        _write(out, result, raster.profile)


def windows(scene: str, out: Path, surprise: Surprise, halo: int) -> None:
    """rasterio windows of 512 pixels and a margin in a plain loop, written as they come."""
    side = 512
    with rasterio.open(scene) as raster, rasterio.open(out, "w", **_profile(raster)) as sink:
        for top in range(0, raster.height, side):
            for left in range(0, raster.width, side):
                tile = _padded(raster, top - halo, left - halo, side + 2 * halo)
                height, width = min(side, raster.height - top), min(side, raster.width - left)
                found = surprise(tile[None])[0, :height, :width]
                sink.write(found, 1, window=Window(left, top, width, height))


def map_overlap(scene: str, out: Path, surprise: Surprise, halo: int) -> None:
    """dask.array.map_overlap over a lazily opened raster, computed as one array."""
    import rioxarray

    opened: Any = rioxarray.open_rasterio(scene, chunks={"x": 1024, "y": 1024}, masked=True)
    array = opened.data
    found = array.astype(np.float32).map_overlap(
        lambda block: surprise(block[None])[0],
        depth={0: 0, 1: halo, 2: halo},
        boundary=np.nan,
        trim=False,
        drop_axis=0,
        dtype=np.float32,
        meta=np.zeros((0, 0), np.float32),
        chunks=tuple(array.chunks[1:]),
    )
    with rasterio.open(scene) as raster:
        _write(out, found.compute(), raster.profile)


def torchgeo(scene: str, out: Path, surprise: Surprise, halo: int) -> None:
    """TorchGeo: GridGeoSampler over a RasterDataset, a DataLoader, batches of 8 patches of 256."""
    import torch

    # torchvision's binary does not fit every build of torch; TorchGeo only imports it.
    for name in ("nms", "qnms"):
        with suppress(RuntimeError):
            torch.library.define(f"torchvision::{name}", "(Tensor a, Tensor b, float c) -> Tensor")

    from torch.utils.data import DataLoader
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import GridGeoSampler

    side = 256
    dataset = RasterDataset(paths=scene)
    sampler = GridGeoSampler(dataset, size=side + 2 * halo, stride=side)
    loader = DataLoader(dataset, batch_size=8, sampler=sampler, collate_fn=stack_samples)
    with rasterio.open(scene) as raster:
        result = np.full(raster.shape, np.nan, np.float32)
        for batch in loader:
            found = surprise(batch["image"].numpy().astype(np.float32))
            for patch, left, top in zip(found, *_corners(batch, raster), strict=True):
                row, col = round(top) + halo, round(left) + halo
                # The first and the last patches reach beyond the raster.
                rows = slice(max(row, 0), max(min(row + side, raster.height), 0))
                cols = slice(max(col, 0), max(min(col + side, raster.width), 0))
                inside = patch[
                    rows.start - row : rows.stop - row, cols.start - col : cols.stop - col
                ]
                result[rows, cols] = inside
        _write(out, result, raster.profile)


def _corners(batch: Any, raster: Any) -> tuple[list[float], list[float]]:
    """Upper left corners of the patches in pixels: columns and rows."""
    found = [~raster.transform @ (x.start, y.stop) for x, y, _ in batch["bounds"]]
    return [col for col, _ in found], [row for _, row in found]


PEERS = {
    "32 px tiles": small_tiles,
    "TorchGeo": torchgeo,
    "map_overlap": map_overlap,
    "windows": windows,
}


def _read(raster: Any, window: Window) -> Array:
    tile = raster.read(window=window).astype(np.float32)
    tile[:, (tile == raster.nodata).any(axis=0)] = np.nan
    return np.asarray(tile)


def _padded(raster: Any, top: int, left: int, side: int) -> Array:
    """A square window that may reach beyond the raster, NaN there."""
    rows, cols = (
        (max(top, 0), min(top + side, raster.height)),
        (
            max(left, 0),
            min(left + side, raster.width),
        ),
    )
    tile = _read(raster, Window.from_slices(rows, cols))
    around = (
        (0, 0),
        (rows[0] - top, top + side - rows[1]),
        (cols[0] - left, left + side - cols[1]),
    )
    return np.pad(tile, around, constant_values=np.nan)


def _profile(raster: Any) -> dict[str, Any]:
    return {
        **raster.profile, "count": 1, "dtype": "float32", "nodata": np.nan, "compress": "deflate",
        "predictor": 3, "BIGTIFF": "YES",
    }  # fmt: skip


def _write(out: Path, result: Array, profile: Any) -> None:
    with rasterio.open(
        out, "w", **{**profile, "count": 1, "dtype": "float32", "nodata": np.nan, "predictor": 3}
    ) as sink:
        sink.write(result, 1)
