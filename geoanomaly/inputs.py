"""The pixels of a job: scenes opened lazily on one grid, clipped to the area, checked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geoanomaly.areas import Clip, clip_grid
from geoanomaly.errors import SceneError
from geoanomaly.scenes import SceneInfo, align, inspect, metres
from geoanomaly.types import AOI, JobSpec, Process, Scene, Setting
from tiling.grid import TileGrid
from tiling.source import open_lazy, read_padded
from tiling.types import Tile, TileBatch

FIELDS = {
    Process.DETECT_CHANGE: ("before", "after"),
    Process.DETECT_ANOMALY: ("scene",),
}
MIN_VALID_PIXELS = 1_000


@dataclass(frozen=True)
class Inputs:
    """What every later step reads.

    scenes, arrays: in the order of `JobSpec.scenes`; the arrays are lazy float32
        (band, y, x), NaN = nodata, all on the grid of the last scene.
    clip: the part of that grid that the job is about.
    """

    scenes: tuple[SceneInfo, ...]
    arrays: tuple[xr.DataArray, ...]
    clip: Clip
    notes: tuple[str, ...]

    @property
    def geobox(self) -> GeoBox:
        """Grid of the output."""
        return self.scenes[-1].geobox[self.clip.rows, self.clip.cols]

    @property
    def setting(self) -> Setting:
        return Setting(
            sensors=tuple(info.sensor.name for info in self.scenes),
            bands=tuple(info.band_names for info in self.scenes),
            log=tuple(info.sensor.log for info in self.scenes),
            pixel_size=metres(self.geobox),
        )

    def tiles(self, size: int, halo: int) -> TileGrid:
        return TileGrid(self.geobox, size, halo)

    def read(self, tile: Tile) -> tuple[TileBatch, ...]:
        """One batch of one tile (core and halo) per scene; the halo may reach beyond the area."""
        rows, cols = tile.read
        rows = slice(rows.start + self.clip.rows.start, rows.stop + self.clip.rows.start)
        cols = slice(cols.start + self.clip.cols.start, cols.stop + self.clip.cols.start)
        return tuple(
            TileBatch.from_nan(read_padded(array, rows, cols)[None]) for array in self.arrays
        )

    def inside(self, tile: Tile) -> NDArray[np.bool_]:
        """Which pixels of a core lie in the area, bool (y, x)."""
        return self.clip.inside(tile.geobox)


def open_inputs(spec: JobSpec) -> Inputs:
    """Open a detection's scenes; InputError names the field at fault."""
    fields = FIELDS[spec.process]
    infos = tuple(
        inspect(scene, field=field, sensor=_sensor_of(spec, scene))
        for scene, field in zip(spec.scenes, fields, strict=True)
    )
    notes = [note for info in infos for note in info.notes]
    sources = [info.source for info in infos]
    if spec.process is Process.DETECT_CHANGE:
        alignment = align(*infos)
        sources[0] = alignment.source
        notes += alignment.notes
    clip = clip_grid(infos[-1].geobox, spec.aoi, scene_field=fields[-1])
    arrays = tuple(
        open_lazy(source, info.band_names) for source, info in zip(sources, infos, strict=True)
    )
    return Inputs(infos, arrays, clip, tuple(notes))


def open_normal(scene: Scene, sensor: str | None, area: AOI | None) -> Inputs:
    """Open one scene of normal ground for training."""
    info = inspect(scene, field="scenes", sensor=sensor or scene.sensor)
    clip = clip_grid(info.geobox, area, scene_field="scenes")
    return Inputs((info,), (open_lazy(info.source, info.band_names),), clip, info.notes)


def _sensor_of(spec: JobSpec, scene: Scene) -> str | None:
    """A scene's own sensor goes before the request's, so that a pair may mix sensors."""
    return scene.sensor or spec.sensor


def require_valid(inputs: Inputs, fields: tuple[str, ...]) -> None:
    """SceneError unless at least `MIN_VALID_PIXELS` pixels are valid in all scenes.

    fields: of the request, one a scene; the error names the first scene that is short
    of pixels by itself, else the last.
    Reads until it has seen enough: a few blocks of a good scene, all of an empty one.
    """
    each, shared = np.zeros(len(fields), dtype=np.int64), 0
    for tile in inputs.tiles(512, 0):
        inside = inputs.inside(tile)
        if not inside.any():
            continue
        valid = np.stack([batch.valid[0][tile.inner] & inside for batch in inputs.read(tile)])
        each += valid.sum(axis=(1, 2))
        shared += int(valid.all(axis=0).sum())
        if shared >= MIN_VALID_PIXELS:
            return
    hrefs = [info.scene.href for info in inputs.scenes]
    short = np.flatnonzero(each < MIN_VALID_PIXELS)
    if short.size:
        names, field, seen, where = hrefs[short[0]], fields[short[0]], each[short[0]], ""
    else:
        names, field, seen, where = " and ".join(hrefs), fields[-1], shared, " in both scenes"
    raise SceneError(
        f"{names}: {seen:,} of {np.prod(inputs.geobox.shape):,} pixels are valid{where}, "
        f"at least {MIN_VALID_PIXELS:,} are needed to learn what is normal. "
        "Check nodata and the area, or choose other scenes.",
        field=field,
    )
