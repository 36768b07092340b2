"""Windows from which a detector learns: a seeded choice whose cost does not grow with the scene."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from geoanomaly.scenes.areas import covered, on_grid
from geoanomaly.scenes.inputs import Inputs
from geoanomaly.types import AOI, Progress, Report
from tiling.types import Tile, TileBatch

WINDOW = 128
MAX_WINDOWS = 64
MAX_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Sample:
    """Windows with halo, as many per scene of the job.

    batches: one `TileBatch` a scene, shapes (n, band, y, x) and (n, y, x).
    core: bool (n, y, x), True where a pixel may be learnt from: valid in all scenes,
        inside the area, and not halo.
    halo: how many pixels of each edge are halo.
    """

    batches: tuple[TileBatch, ...]
    core: NDArray[np.bool_]
    halo: int

    @property
    def pixels(self) -> int:
        return int(self.core.sum())

    def cropped(self, halo: int) -> Sample:
        """The same windows with less halo, at least `halo`; whole strides of 16 px are cut."""
        cut = max(self.halo - halo, 0) // 16 * 16
        if not cut:
            return self
        inner = (..., slice(cut, -cut), slice(cut, -cut))
        batches = tuple(TileBatch(each.data[inner], each.valid[inner]) for each in self.batches)
        return Sample(batches, self.core[inner], self.halo - cut)


def draw(
    inputs: Inputs,
    *,
    halo: int,
    seed: int,
    report: Report,
    share: int = 1,
    exclude: AOI | None = None,
) -> Sample:
    """Read windows spread at random over the area until the budget is full.

    share: how many scenes divide the budget among them; exclude: polygons whose
    pixels are not learnt from. Looks at four times as
    many windows as it keeps, so that a mostly empty scene still gives some.
    """
    count = max(_budget(inputs, halo) // share, 1)
    left_out = None if exclude is None else on_grid(exclude, inputs.geobox)
    kept: list[tuple[tuple[TileBatch, ...], NDArray[np.bool_]]] = []
    for tile in islice(shuffled(inputs, halo, seed), 4 * count):
        window = _read(inputs, tile, left_out)
        if window[1].any():
            kept.append(window)
            report(Progress("reading", 8.0 * len(kept) / count, f"{len(kept)} sample windows"))
        if len(kept) == count:
            break
    if not kept:
        return _empty(inputs, halo)
    batches = zip(*(batches for batches, _ in kept), strict=True)
    cores = np.stack([core for _, core in kept])
    return Sample(tuple(stack(scene) for scene in batches), cores, halo)


@dataclass(frozen=True)
class Pick:
    """Some core pixels of a sample, at random.

    windows: per window, positions in its flattened pixels; order: puts pixels gathered
        window by window into random order; number: of each pixel among all core pixels,
        in that random order.
    """

    windows: tuple[NDArray[np.intp], ...]
    order: NDArray[np.intp]
    number: NDArray[np.intp]


def pick(sample: Sample, limit: int, generator: np.random.Generator) -> Pick:
    """At most `limit` core pixels, so that what is computed of them need not be kept of all."""
    number = generator.permutation(sample.pixels)[:limit]
    ranked = np.sort(number)
    counts = sample.core.reshape(len(sample.core), -1).sum(axis=1)
    ends = np.cumsum(counts)
    windows = tuple(
        np.flatnonzero(core)[ranked[(ranked >= end - count) & (ranked < end)] - (end - count)]
        for core, count, end in zip(sample.core, counts, ends, strict=True)
    )
    return Pick(windows, np.searchsorted(ranked, number), number)


def merge(samples: list[Sample]) -> Sample:
    """Windows of several scenes as one sample; they must agree in bands and halo."""
    batches = zip(*(sample.batches for sample in samples), strict=True)
    return Sample(
        tuple(stack(scene) for scene in batches),
        np.concatenate([sample.core for sample in samples]),
        samples[0].halo,
    )


def _budget(inputs: Inputs, halo: int) -> int:
    bands = sum(array.shape[0] for array in inputs.arrays)
    each = bands * (WINDOW + 2 * halo) ** 2 * 4
    return int(np.clip(MAX_BYTES // each, 4, MAX_WINDOWS))


def shuffled(inputs: Inputs, halo: int, seed: int) -> Iterator[Tile]:
    """The windows of `WINDOW` pixels that touch the area, in a seeded random order."""
    grid = inputs.windows(WINDOW, halo)
    for number in np.random.default_rng(seed).permutation(len(grid)):
        tile = grid.tile(*divmod(int(number), grid.shape[1]))
        if inputs.inside(tile).any():
            yield tile


def _read(
    inputs: Inputs, tile: Tile, left_out: BaseGeometry | None
) -> tuple[tuple[TileBatch, ...], NDArray[np.bool_]]:
    batches = inputs.read(tile)
    valid = np.logical_and.reduce([batch.valid[0] for batch in batches])
    core = np.zeros_like(valid)
    core[tile.inner] = inputs.inside(tile)
    if left_out is not None:
        core[tile.inner] &= ~covered(left_out, tile.geobox)
    return batches, core & valid


def stack(batches: tuple[TileBatch, ...]) -> TileBatch:
    """Windows of one shape as one batch."""
    return TileBatch(
        np.concatenate([batch.data for batch in batches]),
        np.concatenate([batch.valid for batch in batches]),
    )


def _empty(inputs: Inputs, halo: int) -> Sample:
    batches = tuple(
        TileBatch(np.zeros((0, array.shape[0], 0, 0), np.float32), np.zeros((0, 0, 0), bool))
        for array in inputs.arrays
    )
    return Sample(batches, np.zeros((0, 0, 0), bool), halo)
