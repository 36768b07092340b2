"""Small rasters for tests, written with plain rasterio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine

UTM = "EPSG:32633"
NORTH_UP = Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 5_400_000.0)


def write_raster(
    path: Path,
    data: NDArray[Any],
    *,
    crs: str | None = UTM,
    transform: Affine = NORTH_UP,
    nodata: float | None = None,
    names: tuple[str, ...] = (),
    **options: Any,
) -> Path:
    """Write (band, y, x); a grid without CRS has no transform either."""
    place = {"crs": crs, "transform": transform} if crs else {}
    bands, height, width = data.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=bands, height=height, width=width,
        dtype=data.dtype.name, nodata=nodata, **place, **options,
    ) as raster:  # fmt: skip
        raster.write(data)
        for index, name in enumerate(names, start=1):
            raster.set_band_description(index, name)
    return path


def texture(seed: int, bands: int, height: int, width: int) -> NDArray[np.float32]:
    """Smooth positive ground with noise, about 1000 +- 200, float32 (band, y, x)."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    cover = gaussian_filter(rng.normal(size=(3, height, width)), (0, 6, 6)) * 10
    mix = rng.normal(size=(bands, 3))
    ground = np.tensordot(mix, cover, 1) + rng.normal(size=(bands, height, width)) * 0.2
    return (1000 + 100 * ground).astype(np.float32)


def change_pair(
    folder: Path, *, size: int = 192, bands: int = 4, seed: int = 0, dtype: str = "uint16"
) -> tuple[Path, Path, NDArray[np.bool_]]:
    """Two dates with another gain and offset, and one changed square; paths and truth (y, x)."""
    folder.mkdir(parents=True, exist_ok=True)
    before = texture(seed, bands, size, size)
    gains = np.linspace(0.7, 1.4, bands, dtype=np.float32)[:, None, None]
    noise = np.random.default_rng(seed + 1).normal(size=before.shape) * 10
    after = before * gains + 150 + noise
    truth = np.zeros((size, size), dtype=bool)
    truth[size // 4 : size // 4 + 20, size // 2 : size // 2 + 24] = True
    signs = np.where(np.arange(bands) % 2, -1, 1)[:, None]
    after[:, truth] += signs * 60  # a spectrum that no gain and offset explains
    return (
        write_raster(folder / "before.tif", np.clip(before, 1, 60_000).astype(dtype)),
        write_raster(folder / "after.tif", np.clip(after, 1, 60_000).astype(dtype)),
        truth,
    )
