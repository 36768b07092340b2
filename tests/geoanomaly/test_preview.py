"""The scene of the picture that goes with a heatmap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from shapely.geometry import box

from geoanomaly.results import preview
from geoanomaly.results.preview import scene_picture
from geoanomaly.scenes.inputs import open_inputs
from geoanomaly.types import AOI, JobSpec, Process, Scene
from tests.rasters import NORTH_UP, UTM, texture


@pytest.mark.parametrize("block", [None, 64])
@pytest.mark.parametrize("shape", [(300, 200), (50, 900)])
def test_rows_of_blocks_give_the_same_picture_as_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int | None, shape: tuple[int, int]
) -> None:
    monkeypatch.setattr(preview, "MAX_SIDE", 77)
    monkeypatch.setattr(preview, "FEW_ROWS", 30)
    path = tmp_path / "scene.tif"
    data = (1000 + 100 * texture(1, 3, *shape)).astype(np.uint16)
    data[:, 20:40, 30:60] = 0
    tiled = {"tiled": True, "blockxsize": block, "blockysize": block} if block else {}
    with rasterio.open(
        path, "w", driver="GTiff", height=shape[0], width=shape[1], count=3, dtype="uint16",
        crs=UTM, transform=NORTH_UP, nodata=0, **tiled,
    ) as raster:  # fmt: skip
        raster.write(data)
    left, top = NORTH_UP @ (7, 11)
    right, bottom = NORTH_UP @ (shape[1] - 5, shape[0] - 3)
    spec = JobSpec(
        Process.DETECT_ANOMALY,
        (Scene(str(path)),),
        aoi=AOI(box(left, bottom, right, top), UTM),
    )
    inputs = open_inputs(spec)
    found = scene_picture(inputs)
    assert max(found.shape) == 77
    with monkeypatch.context() as whole:
        whole.setattr(preview, "_strips", lambda _raster, _clip, height: [slice(0, height)])
        assert np.array_equal(found, scene_picture(inputs))
    white = (found == 255).all(axis=2)
    with rasterio.open(path) as raster:
        window = ((inputs.clip.rows.start, inputs.clip.rows.stop),
                  (inputs.clip.cols.start, inputs.clip.cols.stop))  # fmt: skip
        valid = raster.read_masks(
            1, window=window, out_shape=found.shape[:2], resampling=Resampling.nearest
        )
    assert (white == (valid == 0)).mean() > 0.97
