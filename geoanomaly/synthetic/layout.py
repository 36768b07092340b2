"""Where everything is: relief, river, parcels, forest, lake, town and roads of one seed.

A landscape is planned on fractions of the scene and in pixels times `scale`, so a
small scene is a smaller, denser landscape rather than a corner of a large one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoanomaly.synthetic import noise, settlement
from geoanomaly.synthetic.noise import Along, FloatMap, Shape
from geoanomaly.synthetic.settlement import Settlement
from geoanomaly.synthetic.spectra import MEADOW, crop_of

PARCEL_KEYS = 65536


@dataclass(frozen=True)
class Layout:
    """A landscape. Maps are (y, x); shares are in [0, 1].

    scale: 1 for a scene of 1024 pixels, less for smaller ones.
    relief: height in arbitrary units; parcel: key into `crops`; strip: pixels to the
    parcel's edge; soil: 0 dark to 1 light; vigour, mottle: mean 0, deviation 1.
    forest, conifer, lake, sand, track, street..: shares of the pixel.
    river: beside the centre line; half_width: of its water in pixels.
    road: beside the main roads; paved: share of the pixel under them.
    """

    seed: int
    shape: Shape
    scale: float
    relief: FloatMap
    parcel: NDArray[np.uint16]
    crops: NDArray[np.uint8]
    edge: FloatMap
    soil: FloatMap
    vigour: FloatMap
    mottle: FloatMap
    forest: FloatMap
    conifer: FloatMap
    river: Along
    half_width: float
    water: FloatMap
    lake: FloatMap
    sand: FloatMap
    track: FloatMap
    road: Along
    paved: FloatMap
    town: Settlement


@dataclass(frozen=True)
class _Plan:
    """Positions as fractions (x, y) of the scene."""

    river_y: float
    town: tuple[float, float]
    forest: tuple[float, float]
    lake: tuple[float, float]


def plan(seed: int, shape: Shape) -> Layout:
    """The landscape of a seed: the same numbers for the same seed and shape."""
    rng = np.random.default_rng([seed, 1])
    height, width = shape
    scale = float(np.clip((min(shape) / 1024) ** 0.5, 0.35, 1.5))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    places = _places(rng)
    river = noise.along(_meander(rng, shape, places.river_y, scale), shape)
    half_width = 5.5 * scale + 0.6
    water = np.clip(half_width + 0.5 - river.distance, 0, 1)
    relief = _relief(rng, shape, river)
    lake = _blob(rng, x, y, places.lake, 0.055, roughness=0.25) * (1 - water)
    villages = _villages(rng, places)
    town = settlement.build(rng, x, y, places.town, villages, scale)
    town = town.without(np.maximum(water, lake))
    road = noise.along(settlement.main_roads(rng, shape, places.town), shape)
    paved = _paved(road, scale)
    parcel, edge, border = _parcels(rng, x, y, scale)
    crops = crop_of(rng, PARCEL_KEYS)
    forest = _forest(rng, x, y, places.forest, relief, parcel, river, scale)
    forest = forest * (1 - np.maximum(water, lake)) * (1 - town.share)
    track = np.clip(0.8 - border, 0, 0.6) * (1 - 0.7 * forest)
    return Layout(
        seed=seed,
        shape=shape,
        scale=scale,
        relief=relief,
        parcel=_floodplain(rng, parcel, crops, river, half_width, scale),
        crops=crops,
        edge=edge,
        soil=np.clip(0.5 + 0.2 * noise.fractal(rng, shape, slope=1.5, largest=260 * scale), 0, 1),
        vigour=noise.fractal(rng, shape, slope=1.2, largest=60 * scale),
        mottle=noise.fractal(rng, shape, slope=0.35, largest=12.0, smallest=1.0),
        forest=forest,
        conifer=noise.ramp(noise.fractal(rng, shape, slope=1.5, largest=130 * scale), -0.1, 0.4),
        river=river,
        half_width=half_width,
        water=water,
        lake=lake,
        sand=_sandbanks(rng, shape, river, half_width, scale),
        track=track * (1 - town.share),
        road=road,
        paved=paved,
        town=town,
    )


def _places(rng: np.random.Generator) -> _Plan:
    """Town and lake on one side of the river, the large forest on the other."""
    below = 1.0 if rng.random() < 0.5 else -1.0
    left = 1.0 if rng.random() < 0.5 else -1.0

    def at(dx: float, dy: float) -> tuple[float, float]:
        nudge = rng.uniform(-0.03, 0.03, 2)
        return (0.5 + left * dx + float(nudge[0]), 0.5 + below * dy + float(nudge[1]))

    river_y = 0.5 - below * 0.06
    return _Plan(river_y, town=at(-0.2, 0.2), forest=at(-0.1, -0.36), lake=at(0.3, 0.34))


def _villages(rng: np.random.Generator, places: _Plan) -> list[tuple[float, float]]:
    """Four places (x, y) in open country."""
    keep_off = ((places.town, 0.2), (places.forest, 0.36), (places.lake, 0.12))
    found: list[tuple[float, float]] = []
    while len(found) < 4:
        x, y = (float(value) for value in rng.uniform(0.06, 0.94, 2))
        gaps = [np.hypot(x - spot[0], y - spot[1]) - gap for spot, gap in keep_off]
        near = [np.hypot(x - spot[0], y - spot[1]) - 0.12 for spot in found]
        if min(gaps + near) > 0 and abs(y - places.river_y) > 0.1:
            found.append((x, y))
    return found


def _meander(
    rng: np.random.Generator, shape: Shape, middle: float, scale: float
) -> NDArray[np.float64]:
    """Points of a river from left to right: a sine-generated curve with an uneven beat.

    Langbein and Leopold (1966): the direction of a meandering river is a sine of the
    distance along it.
    """
    height, width = shape
    step = 0.4
    count = int(2.6 * width / step)
    wavelength = 230.0 * scale
    beat = _wander(rng, count, wavelength / step * 1.5)
    phase = 2 * np.pi * np.arange(count) * step / wavelength + 1.3 * beat
    swing = 0.95 + 0.25 * _wander(rng, count, wavelength / step * 2)
    heading = swing * np.sin(phase + rng.uniform(0, 2 * np.pi))
    x = np.cumsum(np.cos(heading)) * step - 0.15 * width
    y = np.cumsum(np.sin(heading)) * step
    inside = (x > 0) & (x < width)
    trend = np.polyval(np.polyfit(x[inside], y[inside], 1), x)
    y = (y - trend) + middle * height + (x / width - 0.5) * height * rng.uniform(-0.15, 0.15)
    keep = (x > -0.1 * width) & (x < 1.1 * width)
    return np.stack([x[keep], y[keep]], axis=1)


def _wander(rng: np.random.Generator, count: int, spacing: float) -> NDArray[np.float64]:
    """Smooth noise along a line, deviation about 1, with knots `spacing` samples apart."""
    knots = rng.standard_normal(int(count / spacing) + 4)
    at = np.arange(count) / spacing
    left = at.astype(int)
    t = (1 - np.cos(np.pi * (at - left))) / 2
    return np.asarray(knots[left] * (1 - t) + knots[left + 1] * t, dtype=np.float64)


def _relief(rng: np.random.Generator, shape: Shape, river: Along) -> FloatMap:
    """Hills that rise away from the river, deviation 1."""
    valley = np.sqrt(np.minimum(river.distance / (0.3 * min(shape)), 1.0))
    hills = noise.fractal(rng, shape, slope=1.9, largest=0.5 * max(shape), smallest=5.0)
    relief = hills * valley * 0.8 + 1.2 * valley
    return np.asarray((relief - relief.mean()) / relief.std(), dtype=np.float32)


def _blob(
    rng: np.random.Generator,
    x: FloatMap,
    y: FloatMap,
    place: tuple[float, float],
    radius: float,
    roughness: float,
) -> FloatMap:
    """A warped ellipse about `place`, `radius` as a fraction of the scene's shorter side."""
    height, width = x.shape
    pixels = radius * min(height, width)
    u, v = noise.turned(x, y, (place[0] * width, place[1] * height), rng.uniform(0, np.pi))
    wobble = noise.fractal(rng, x.shape, slope=1.6, largest=3 * pixels)
    inside = (1 - np.hypot(u / 1.35, v / 0.75) / pixels + roughness * wobble) * pixels * 0.75
    return np.asarray(np.clip(inside + 0.5, 0, 1), dtype=np.float32)


def _parcels(
    rng: np.random.Generator, x: FloatMap, y: FloatMap, scale: float
) -> tuple[NDArray[np.uint16], FloatMap, FloatMap]:
    """Keys of the parcels, pixels to a parcel's edge, pixels to the edge of its block.

    Blocks are Voronoi cells bounded by tracks; each is cut into strips at its own
    angle, and the strips into lengths.
    """
    block = noise.cells(rng, x, y, 105.0 * scale)
    angle = rng.uniform(0, np.pi, block.count).astype(np.float32)[block.index]
    strip = rng.uniform(13, 34, block.count).astype(np.float32)[block.index] * scale
    length = rng.uniform(45, 110, block.count).astype(np.float32)[block.index] * scale
    u = x * np.cos(angle) + y * np.sin(angle)
    v = y * np.cos(angle) - x * np.sin(angle)
    row, across = _uneven(u / strip, block.index)
    column, lengthwise = _uneven(v / length, block.index * 31 + row)
    edge = np.minimum(np.minimum(across * strip, lengthwise * length), block.border)
    return noise.mix(block.index, row, column), edge.astype(np.float32), block.border


def _uneven(t: FloatMap, salt: noise.IntMap) -> tuple[noise.IntMap, FloatMap]:
    """Cut a line into pieces 0.4 to 1.6 long: the piece's number and the way to its nearer end."""
    cell = np.floor(t).astype(np.int32)

    def cut(number: noise.IntMap) -> FloatMap:
        return (number + 0.6 * (noise.mix(number, salt) / 65536)).astype(np.float32)

    cell = np.where(t < cut(cell), cell - 1, cell).astype(np.int32)
    to_end = np.minimum(t - cut(cell), cut(cell + 1) - t)
    return cell, np.maximum(to_end, 0).astype(np.float32)


def _floodplain(
    rng: np.random.Generator,
    parcel: NDArray[np.uint16],
    crops: NDArray[np.uint8],
    river: Along,
    half_width: float,
    scale: float,
) -> NDArray[np.uint16]:
    """Most parcels beside the river are meadows."""
    meadows = np.flatnonzero(crops == MEADOW).astype(np.uint16)
    bank = (24 + 9 * noise.fractal(rng, parcel.shape, slope=1.5, largest=120 * scale)) * scale
    near = (river.distance - half_width < bank) & (parcel % 8 < 6)
    return np.where(near, meadows[parcel % meadows.size], parcel).astype(np.uint16)


def _forest(
    rng: np.random.Generator,
    x: FloatMap,
    y: FloatMap,
    place: tuple[float, float],
    relief: FloatMap,
    parcel: NDArray[np.uint16],
    river: Along,
    scale: float,
) -> FloatMap:
    """Share of trees: a large forest, hills, odd woodlots, and galleries along the river."""
    height, width = x.shape
    away = np.hypot((x / width - place[0]) / 0.34, (y / height - place[1]) / 0.20)
    patches = noise.fractal(rng, x.shape, slope=1.45, largest=280 * scale)
    score = 1.9 * np.clip(1.5 - away, -1, 1) + 0.45 * relief + 0.62 * patches
    wood = noise.ramp(score - np.where(parcel % 64 < 2, -9.0, 1.15), -0.06, 0.06)
    gallery = noise.ramp(noise.fractal(rng, x.shape, slope=1.2, largest=40 * scale), 0.1, 0.5)
    near = np.clip(5.5 * scale + 3.5 - river.distance + 3 * scale, 0, 1)
    return np.asarray(np.maximum(wood, 0.9 * gallery * near), dtype=np.float32)


def _sandbanks(
    rng: np.random.Generator, shape: Shape, river: Along, half_width: float, scale: float
) -> FloatMap:
    """Bars on one side of the water or the other."""
    where = noise.fractal(rng, shape, slope=1.5, largest=110 * scale)
    bar = np.where(river.side > 0, where, -where)
    near = np.clip(1.6 * scale + 0.3 - np.abs(river.distance - half_width), 0, 1)
    return np.asarray(near * noise.ramp(bar, 0.6, 1.1), dtype=np.float32)


def _paved(road: Along, scale: float) -> FloatMap:
    """Main roads are narrower than two pixels: mixed wherever they are seen."""
    inside = 0.6 + 0.7 * scale - np.maximum(road.distance - 0.3, 0)
    return np.asarray(np.clip(inside, 0, 0.95), dtype=np.float32)
