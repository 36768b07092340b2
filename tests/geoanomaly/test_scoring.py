"""The kernel: what it need not read, it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from shapely.geometry import box

from geoanomaly.models import Model
from geoanomaly.scenes.inputs import Inputs, open_inputs
from geoanomaly.scenes.thumbnail import Thumbnail
from geoanomaly.scoring import ScoreTile
from geoanomaly.types import AOI, JobSpec, Process, Scene
from tests.rasters import UTM, texture, write_raster
from tiling.scratch import TileStore
from tiling.source import RasterSource

TILE = 64
CORNER = (0, 1)
"""A tile of the empty half that has a few pixels in its corner."""


def opened(folder: Path, area: AOI | None = None) -> Inputs:
    data = texture(1, 4, 4 * TILE, 4 * TILE) + 1
    data[:, : 2 * TILE] = 0
    data[:, :3, 2 * TILE - 2 : 2 * TILE] = 7
    path = write_raster(folder / "scene.tif", data, nodata=0)
    return open_inputs(JobSpec(Process.DETECT_ANOMALY, (Scene(str(path)),), aoi=area))


def kernel(inputs: Inputs) -> ScoreTile:
    """Without a model: it fails where it would score."""
    return ScoreTile(inputs, cast(Model, None), cast(TileStore, None), cast(Thumbnail, None))


def test_of_a_tile_without_data_one_band_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, bands = opened(tmp_path), set[int]()
    read = RasterSource.read

    def watched(self: RasterSource, rows: slice, cols: slice) -> NDArray[Any]:
        bands.update(self.bands)
        return read(self, rows, cols)

    monkeypatch.setattr(RasterSource, "read", watched)
    tiles = {tile.index: tile for tile in inputs.tiles(TILE, 8)}
    empty = {index for index, tile in tiles.items() if inputs.empty(tile)}
    assert empty == {(row, col) for row in (0, 1) for col in range(4)} - {CORNER}
    for index in empty:
        surprise = kernel(inputs).surprise(tiles[index])
        assert surprise.shape == (TILE, TILE)
        assert np.isnan(surprise).all()
    assert bands == {1}
    for index in ((3, 0), CORNER):
        with pytest.raises(AttributeError, match="detector"):
            kernel(inputs).surprise(tiles[index])


def test_of_a_tile_outside_the_area_nothing_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = opened(tmp_path).geobox.boundingbox
    half, third = (whole.left + whole.right) / 2, 3 * TILE * 10
    # An L: the upper right of its bounding box is outside.
    lower = box(whole.left, whole.bottom, half, whole.top)
    right = box(whole.left, whole.bottom, whole.right, whole.top - third)
    inputs = opened(tmp_path, AOI(lower.union(right), UTM))
    monkeypatch.setattr(RasterSource, "read", None)
    tiles = {tile.index: tile for tile in inputs.tiles(TILE, 8)}
    assert len(tiles) == 16
    # Tiles that share no more than a border with the area are beyond it too.
    assert {index for index, tile in tiles.items() if inputs.clip.beyond(tile.geobox)} == {
        (row, col) for row in range(3) for col in (2, 3)
    }
    assert np.isnan(kernel(inputs).surprise(tiles[2, 3])).all()
    with pytest.raises(TypeError, match="not callable"):
        kernel(inputs).surprise(tiles[3, 3])
