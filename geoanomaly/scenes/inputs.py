"""The pixels of a job: scenes opened lazily on one grid, clipped to the area, checked."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

from geoanomaly.errors import ParameterError, SceneError
from geoanomaly.scenes.areas import Clip, clip_grid
from geoanomaly.scenes.info import SceneInfo, align, inspect, metres
from geoanomaly.scenes.masks import Mask, scene_masks, water
from geoanomaly.scenes.sensors import water_bands
from geoanomaly.scenes.timeline import acquired, order
from geoanomaly.types import AOI, JobSpec, Process, Scene, Setting
from tiling.grid import TileGrid
from tiling.source import RasterSource, open_lazy, read_padded
from tiling.types import Tile, TileBatch

FIELDS = {
    Process.DETECT_CHANGE: ("before", "after"),
    Process.DETECT_ANOMALY: ("scene",),
}
MASK_FIELDS = {
    Process.DETECT_CHANGE: ("before_mask", "mask"),
    Process.DETECT_ANOMALY: ("mask",),
}
MIN_VALID_PIXELS = 1_000
PROBE = 16
"""Pixels on each side of what is looked at before a whole tile is."""


@dataclass(frozen=True)
class Inputs:
    """What every later step reads.

    scenes, arrays: in the order of `JobSpec.scenes`; the arrays are lazy float32
        (band, y, x), NaN = nodata, all on the grid of the last scene.
    clip: the part of that grid that the job is about.
    masks: what to leave out of each scene, on the same grid.
    ignore: kinds of ground to leave out where all scenes that can tell show them.
    history: earlier scenes of the place on the same grid, each by itself, from early to late
        where their dates are known.
    """

    scenes: tuple[SceneInfo, ...]
    arrays: tuple[xr.DataArray, ...]
    clip: Clip
    notes: tuple[str, ...]
    masks: tuple[tuple[Mask, ...], ...]
    ignore: tuple[str, ...] = ()
    history: tuple[Inputs, ...] = ()

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

    def windows(self, size: int, halo: int) -> TileGrid:
        """Tiles that are read at one shape, to be stacked."""
        return TileGrid(self.geobox, size, halo, even=True)

    def absent(self, tile: Tile) -> bool:
        """Is it sure, before a pixel is read, that a core has no value?"""
        if self.clip.beyond(tile.geobox):
            return True
        return self.scenes[-1].source.absent(*self.clip.placed(*tile.core))

    def blank(self, tile: Tile) -> bool:
        """Does a core seem to have no value, as far as can be told before a pixel is read?"""
        return self.scenes[-1].source.blank(*self.clip.placed(*tile.core))

    def empty(self, tile: Tile) -> bool:
        """Has a scene no data in the whole core? Its first band tells, without the others."""
        rows, cols = self.clip.placed(*tile.core)
        return any(
            # A few pixels from the middle tell most tiles that are not empty.
            not _any_data(array, _middle(rows), _middle(cols)) and not _any_data(array, rows, cols)
            for array in self.arrays
        )

    def read(self, tile: Tile) -> tuple[TileBatch, ...]:
        """One batch of one tile (core and halo) per scene; the halo may reach beyond the area."""
        rows, cols = self.clip.placed(*tile.read)
        scenes = [read_padded(array, rows, cols) for array in self.arrays]
        for data, masks in zip(scenes, self.masks, strict=True):
            for mask in masks:
                data[:, mask.left_out(rows, cols)] = np.nan
        if "water" in self.ignore:
            self._leave_out_water(scenes)
        return tuple(TileBatch.from_nan(data[None]) for data in scenes)

    def _leave_out_water(self, scenes: list[NDArray[np.float32]]) -> None:
        """Where it is water at all dates: a flood or a drained lake is change on the ground."""
        found = [
            water(data, info.band_names) for data, info in zip(scenes, self.scenes, strict=True)
        ]
        everywhere = np.logical_and.reduce([each for each in found if each is not None])
        for data in scenes:
            data[:, everywhere] = np.nan

    def inside(self, tile: Tile) -> NDArray[np.bool_]:
        """Which pixels of a core lie in the area, bool (y, x)."""
        return self.clip.inside(tile.geobox)


def _any_data(array: xr.DataArray, rows: slice, cols: slice) -> bool:
    return bool(np.isfinite(read_padded(array.isel(band=slice(1)), rows, cols)).any())


def _middle(span: slice) -> slice:
    """Of a window's side, `PROBE` pixels."""
    start = max((span.start + span.stop - PROBE) // 2, span.start)
    return slice(start, min(start + PROBE, span.stop))


def open_inputs(spec: JobSpec, moved: tuple[float, float] = (0.0, 0.0)) -> Inputs:
    """Open a detection's scenes; InputError names the field at fault.

    moved: (rows, columns) by which the before scene is moved down and right first.
    """
    fields = FIELDS[spec.process]
    infos = tuple(
        inspect(scene, field=field, sensor=_sensor_of(spec, scene))
        for scene, field in zip(spec.scenes, fields, strict=True)
    )
    notes = [note for info in infos for note in info.notes]
    sources = [info.source for info in infos]
    if spec.process is Process.DETECT_CHANGE:
        alignment = align(*infos)
        sources[0] = _moved(alignment.source, moved)
        notes += alignment.notes
    masks = []
    for info, source, field in zip(infos, sources, MASK_FIELDS[spec.process], strict=True):
        found, said = scene_masks(info, source, field=field)
        masks.append(found)
        notes += said
    _check_ignored(spec, infos)
    clip = clip_grid(infos[-1].geobox, spec.aoi, scene_field=fields[-1])
    arrays = tuple(
        open_lazy(source, info.band_names) for source, info in zip(sources, infos, strict=True)
    )
    opened = Inputs(infos, arrays, clip, tuple(notes), tuple(masks), spec.ignore)
    if not spec.history:
        return opened
    in_time = order([acquired(scene) for scene in spec.history])
    history = tuple(_open_earlier(spec.history[number], spec, opened) for number in in_time)
    notes += [note for each in history for note in each.notes]
    return replace(opened, history=history, notes=tuple(notes))


def _open_earlier(scene: Scene, spec: JobSpec, opened: Inputs) -> Inputs:
    """A scene of the history on the grid of the after scene; SceneError says which is at fault."""
    info = inspect(scene, field="history", sensor=_sensor_of(spec, scene))
    before, after = opened.scenes
    for other in (before, after):
        if (info.sensor, info.band_names) != (other.sensor, other.band_names):
            raise SceneError(
                f"{scene.label} of the history has bands {' '.join(info.band_names)} "
                f"({info.sensor.name}), {other.scene.label} has {' '.join(other.band_names)} "
                f"({other.sensor.name}). Give a history of the sensor and the bands of both dates.",
                field="history",
            )
    _require_earlier(scene, after.scene)
    try:
        source = align(info, after).source
    except SceneError as error:
        raise SceneError(f"{scene.label} of the history: {error}", field="history") from None
    masks, notes = scene_masks(info, source, field="history")
    placed = replace(info, source=source, geobox=after.geobox)
    array = open_lazy(source, info.band_names)
    return Inputs((placed,), (array,), opened.clip, notes, (masks,), spec.ignore)


def _require_earlier(scene: Scene, after: Scene) -> None:
    then, now = acquired(scene), acquired(after)
    if then is not None and now is not None and then >= now:
        raise SceneError(
            f"{scene.label} of the history is of {then}, the after scene of {now}. A history has "
            "earlier scenes only.",
            field="history",
        )


def _moved(source: RasterSource, moved: tuple[float, float]) -> RasterSource:
    """Cubic: bilinear interpolation at half a pixel would blur one date of two."""
    if moved == (0.0, 0.0):
        return source
    return replace(source, moved=moved, resampling=Resampling.cubic)


def _check_ignored(spec: JobSpec, infos: tuple[SceneInfo, ...]) -> None:
    if "water" in spec.ignore and not any(water_bands(info.band_names) for info in infos):
        names = "; ".join(f"{info.scene.label}: {' '.join(info.band_names)}" for info in infos)
        raise ParameterError(
            "Water is told by a green and an infrared band, and the scene has no bands of such "
            f"names ({names}). Name the bands in the file (B03 and B08, or green and nir), say "
            "the sensor, or give water as a mask.",
            field="ignore",
        )


def open_normal(scene: Scene, sensor: str | None, area: AOI | None) -> Inputs:
    """Open one scene of normal ground for training."""
    info = inspect(scene, field="scenes", sensor=sensor or scene.sensor)
    clip = clip_grid(info.geobox, area, scene_field="scenes")
    masks, notes = scene_masks(info, info.source, field="scenes")
    array = open_lazy(info.source, info.band_names)
    return Inputs((info,), (array,), clip, info.notes + notes, (masks,))


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
        "Check nodata, masks and the area, or choose other scenes.",
        field=field,
    )
