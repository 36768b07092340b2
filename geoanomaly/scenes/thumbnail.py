"""The after scene, small, for the picture of a result: taken tile by tile while it is scored.

A scene without overviews must be decoded whole for its picture. Right after a tile is read its
blocks are still at hand, and a few of its pixels cost next to nothing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.transform import Affine

from geoanomaly.scenes.areas import Clip
from geoanomaly.scenes.inputs import Inputs
from geoanomaly.scenes.sensors import display_bands
from tiling.grid import TileGrid
from tiling.scratch import TORN, TileStore
from tiling.source import RasterSource
from tiling.types import Tile

MAX_SIDE = 768
"""Pixels of the longer side of a thumbnail."""


@dataclass(frozen=True)
class Thumbnail:
    """A recipe for the nearest pixels of a scene in its default colours.

    source: of the bands that are shown; clip: of its grid, that the job is about, whose area is
    a thumbnail's pixel wider, so that narrow ones are seen; grid: the thumbnail's own, tile by
    tile that of the job; store: float32 (band, y, x), NaN = no data.
    """

    source: RasterSource
    clip: Clip
    grid: TileGrid
    store: TileStore

    def take(self, tile: Tile) -> None:
        """Its part of a tile of the job; a thin one at the edge may have none."""
        rows, cols = self.grid.shape
        if tile.index[0] < rows and tile.index[1] < cols:
            own = self.grid.tile(*tile.index)
            seen = self.source.glance(*self.clip.placed(*tile.core), own.shape)
            seen[:, ~self.clip.inside(own.geobox)] = np.nan
            if np.isfinite(seen).any():
                self.store.write(own, seen)

    def pixels(self) -> NDArray[np.float32]:
        """What was taken, (band, y, x); NaN too where a power cut left a part torn."""
        try:
            return np.asarray(self.store.open()[:])
        except TORN:
            found = np.full((len(self.source.bands), *self.grid.geobox.shape), np.nan, np.float32)
            for own in self.grid:
                with suppress(*TORN):
                    found[:, *own.core] = self.store.read(own)
            return found


def open_thumbnail(inputs: Inputs, grid: TileGrid, location: Path | str) -> Thumbnail:
    """Of the last scene, at most `MAX_SIDE` pixels a side; grid: the job's."""
    info = inputs.scenes[-1]
    shown = next(iter(display_bands(info.band_names).values()))
    bands = tuple(info.source.bands[band - 1] for band in shown)
    # A whole number of pixels a tile, so that all tiles fit together.
    side = max(1, min(grid.size, grid.size * MAX_SIDE // max(grid.geobox.shape)))
    own = TileGrid(_smaller(grid.geobox, grid.size / side), side)
    store = TileStore(location, bands=len(bands))
    store.create(own)
    clip = inputs.clip.wider(abs(own.geobox.affine.determinant) ** 0.5)
    return Thumbnail(replace(info.source, bands=bands), clip, own, store)


def _smaller(geobox: GeoBox, pitch: float) -> GeoBox:
    """One pixel for each that lies in the middle of `pitch` pixels; at least one."""
    height, width = (max(1, round(side / pitch)) for side in geobox.shape)
    return GeoBox((height, width), geobox.affine * Affine.scale(pitch), geobox.crs)
