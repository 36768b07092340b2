"""How the rasters of a result are stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox

from geoanomaly.results.rasters import NODATA, above, mask_profile
from tests.rasters import NORTH_UP, UTM
from tiling.cog import write_cog
from tiling.grid import TileGrid


def test_a_mask_from_afar_keeps_the_share_of_what_is_small(tmp_path: Path) -> None:
    """The most frequent value of four, or of sixteen, would leave none of it."""
    surprise = np.random.default_rng(0).exponential(size=(1024, 1024)).astype(np.float32)
    surprise[:100] = np.nan
    mask = above(surprise, 3.0)
    grid = TileGrid(GeoBox(mask.shape, NORTH_UP, UTM), 512)
    write_cog(
        tmp_path / "mask.tif", grid.geobox, mask_profile({}), ((t, mask[t.core]) for t in grid)
    )
    for level in (0, 1):
        with rasterio.open(tmp_path / "mask.tif", overview_level=level) as raster:
            seen = raster.read(1)
        assert set(np.unique(seen)) == {0, 1, NODATA}
        assert (seen == 1).mean() == pytest.approx((mask == 1).mean(), rel=0.1)
