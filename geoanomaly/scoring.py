"""Every tile of a job through its model, into the scratch store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from geoanomaly import compute
from geoanomaly.budget import set_limits
from geoanomaly.errors import TileError
from geoanomaly.models import Model
from geoanomaly.progress import Pace
from geoanomaly.scenes.inputs import Inputs
from geoanomaly.scenes.thumbnail import Thumbnail
from geoanomaly.settings import Settings
from geoanomaly.types import Report
from tiling.grid import GROUP, TileGrid, group_shape, spread
from tiling.runner import TileFailedError, run_tiles
from tiling.scratch import TileStore
from tiling.types import Tile

WRITING = 0.09
"""Time that the files take for a tile once all are scored, in that of scoring one."""

BLANK, BLANK_WRITING = 0.025, 0.016
"""The same of a tile without data: to find that out, and its part of the files."""

ABSENT_WRITING = 0.006
"""Of one that is known to have none and is passed over: the overviews of nothing."""

ANYWAY = 5 * 2**17
"""Pixels that are scored in the time that the files take whatever the size."""

STEPS = np.float32(2**14)
"""Of one unit of surprise. Finer digits are noise, which would fill half of the heatmap's bytes;
two tile sizes still agree within 1e-4."""

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class ScoreTile:
    """The kernel: read a window and its halo, score it, keep the core. Picklable, knows no Dask."""

    inputs: Inputs
    model: Model
    store: TileStore
    thumbnail: Thumbnail

    def __call__(self, tile: Tile) -> None:
        _begin()
        compute.use_one_thread_each()
        surprise = self.surprise(tile)
        self.thumbnail.take(tile)
        # Last: a chunk that is there says that the tile is done.
        self.store.write(tile, surprise)

    def surprise(self, tile: Tile) -> Scores:
        """Calibrated surprise of a tile's core, NaN outside the area and where data is missing."""
        inside = self.inputs.inside(tile)
        if not inside.any() or self.inputs.empty(tile):
            return np.full(tile.shape, np.nan, np.float32)
        batches = self.inputs.read(tile)
        if not all(batch.any_valid for batch in batches):
            return np.full(tile.shape, np.nan, np.float32)
        score = self.model.detector.score(batches)[0][tile.inner]
        surprise = self.model.calibration.surprise(score)
        surprise[~inside] = np.nan
        return np.asarray(np.rint(surprise * STEPS) / STEPS, dtype=np.float32)


@cache
def _begin() -> None:
    """Once in each process: on a cluster it is another one than the job's."""
    set_limits(Settings())


def with_data(inputs: Inputs, grid: TileGrid) -> list[Tile]:
    """The tiles that a job is about: those of which it is not sure that they have no value."""
    return [tile for tile in grid if not inputs.absent(tile)]


def score_tiles(
    kernel: ScoreTile, grid: TileGrid, tiles: Sequence[Tile], settings: Settings, report: Report
) -> None:
    """Score those tiles of the grid that the store lacks."""
    blank = {tile.index for tile in tiles if kernel.inputs.blank(tile)}
    group = _group(kernel.inputs, grid, settings.cache_mib * 2**20)
    todo = spread(kernel.store.missing(tiles), blank, group)
    after = share_of_files(len(tiles) - len(blank), len(blank), len(grid) - len(tiles), grid.size)
    pace = Pace(total=len(tiles), done=len(tiles) - len(todo), start=40, end=90, after=after)
    report(pace.progress())
    try:
        run_tiles(
            kernel,
            todo,
            threads=settings.threads,
            scheduler=settings.dask_scheduler,
            on_done=lambda: report(pace.step()),
        )
    except TileFailedError as failure:
        raise TileError(str(failure)) from failure


def _group(inputs: Inputs, grid: TileGrid, cache_bytes: int) -> tuple[int, int]:
    """Of tiles that follow one another; where a network would have to be asked, the usual one."""
    sources = [info.source for info in inputs.scenes]
    if not all(source.local for source in sources):
        return GROUP
    blocks = [source.blocks() for source in sources]
    tile_bytes = grid.size**2 * sum(each.depth for each in blocks)
    widest = max(each.width for each in blocks) / grid.size
    return group_shape(grid.shape[1], tile_bytes, widest, cache_bytes)


def share_of_files(full: int, blank: int, absent: int, size: int) -> float:
    """Time that the files take, in that of the scoring, of as many tiles of `size` pixels."""
    files = WRITING * full + BLANK_WRITING * blank + ABSENT_WRITING * absent + ANYWAY / size**2
    return files / max(full + BLANK * blank, BLANK)
