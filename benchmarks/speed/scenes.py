"""Scenes of any size for timing: textured ground with noise, as compressed as real ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window
from scipy.ndimage import gaussian_filter

BLOCK = 512


@dataclass(frozen=True)
class SceneSize:
    """share: of the blocks that hold data; the rest is nodata that the file does not store."""

    side: int
    bands: int = 4
    share: float = 1.0

    @property
    def megapixels(self) -> float:
        return self.side**2 / 1e6

    @property
    def gigabytes(self) -> float:
        """Of pixels, uncompressed."""
        return self.side**2 * self.bands * 2 / 1e9

    @property
    def name(self) -> str:
        return f"{self.side}x{self.bands}-{self.share:g}.tif"


def scene(size: SceneSize, folder: Path) -> Path:
    """A tiled, deflated uint16 GeoTIFF; made once."""
    path = folder / size.name
    if not path.exists():
        partial = path.with_suffix(".partial")
        _write(partial, size)
        partial.rename(path)
    return path


def _write(path: Path, size: SceneSize) -> None:
    rng = np.random.default_rng(0)
    ground = rng.normal(size=(size.bands, BLOCK, BLOCK))
    ground = 2000 + 900 * np.stack([gaussian_filter(band, 4, mode="wrap") * 12 for band in ground])
    noise = rng.normal(0, 60, (8, *ground.shape))
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=size.side,
        width=size.side,
        count=size.bands,
        dtype="uint16",
        nodata=0,
        crs="EPSG:32633",
        transform=from_origin(400_000, 5_500_000, 10, 10),
        tiled=True,
        blockxsize=BLOCK,
        blockysize=BLOCK,
        compress="deflate",
        predictor=2,
        zlevel=1,
        SPARSE_OK=True,
        BIGTIFF="YES",
    ) as raster:
        for number, (top, left) in enumerate(np.ndindex(*[-(-size.side // BLOCK)] * 2)):
            if rng.random() > size.share:
                continue
            height = min(BLOCK, size.side - top * BLOCK)
            width = min(BLOCK, size.side - left * BLOCK)
            shifted = np.roll(ground + noise[number % 8], (37 * number, 91 * number), (1, 2))
            block = shifted[:, :height, :width].clip(1, 65_535).astype(np.uint16)
            raster.write(block, window=Window(left * BLOCK, top * BLOCK, width, height))
