"""Town, villages and the main roads between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from geoanomaly.synthetic import noise
from geoanomaly.synthetic.noise import FloatMap, Shape

MATERIALS = (
    "asphalt",
    "roof_red",
    "roof_grey",
    "roof_bright",
    "grass",
    "deciduous_july",
    "concrete",
)
_STREET, _RED, _GREY, _BRIGHT, _LAWN, _TREE, _YARD = range(len(MATERIALS))


@dataclass(frozen=True)
class Settlement:
    """share: (y, x) of a pixel that is built-up; material: (y, x) number of `MATERIALS`."""

    share: FloatMap
    material: NDArray[np.uint8]

    def without(self, wet: FloatMap) -> Settlement:
        """The same settlement with no house in the water (share of the pixel)."""
        return Settlement(self.share * (1 - wet), self.material)


def main_roads(
    rng: np.random.Generator, shape: Shape, town: tuple[float, float]
) -> NDArray[np.float64]:
    """Points (n, 2) of two roads that meet in the town: one along the river, one across it."""
    near_x, near_y = (0.0 if at < 0.5 else 1.0 for at in town)
    inland = near_y - town[1]
    along = [
        (near_x, town[1] + 0.3 * inland),
        ((near_x + town[0]) / 2, town[1] + 0.05 * inland),
        town,
        ((town[0] + 1 - near_x) / 2, town[1] - 0.22 * inland),
        (1 - near_x, town[1] - 0.1 * inland),
    ]
    across = [
        (town[0] + 0.10, near_y),
        town,
        (0.5, 0.5),
        (0.62, 1 - 0.8 * near_y - 0.1),
        (0.66, 1 - near_y),
    ]
    return np.concatenate([_curve(rng, knots, shape) for knots in (along, across)])


def _curve(
    rng: np.random.Generator, knots: list[tuple[float, float]], shape: Shape
) -> NDArray[np.float64]:
    """A smooth line through knots given as fractions, from edge to edge of the scene."""
    points = np.array(knots) * (shape[1], shape[0])
    points[3:-1] += rng.uniform(-0.025, 0.025, points[3:-1].shape) * min(shape)
    at = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    spline = CubicSpline(at, points)
    past = 0.03 * at[-1]
    return noise.dense(spline(np.linspace(-past, at[-1] + past, 400)))


def build(
    rng: np.random.Generator,
    x: FloatMap,
    y: FloatMap,
    town: tuple[float, float],
    villages: list[tuple[float, float]],
    scale: float,
) -> Settlement:
    """One town and its villages."""
    height, width = x.shape
    side = min(height, width)
    share = np.zeros(x.shape, np.float32)
    material = np.zeros(x.shape, np.uint8)
    ragged = noise.fractal(rng, x.shape, slope=1.6, largest=130 * scale, smallest=4.0)
    places = [(town, 0.115)]
    places += [(village, float(rng.uniform(0.018, 0.034))) for village in villages]
    for place, radius in places:
        centre = (place[0] * width, place[1] * height)
        pixels = radius * side
        reach = np.hypot(x - centre[0], y - centre[1]) / pixels
        inside = noise.ramp(1 + 0.26 * ragged - reach, 0.0, 1.5 / pixels)
        here = (inside > 0) & (inside >= share)
        material[here] = _quarter(rng, x[here], y[here], centre, reach[here])
        share = np.maximum(share, inside)
    return Settlement(share, material)


def _quarter(
    rng: np.random.Generator,
    x: FloatMap,
    y: FloatMap,
    centre: tuple[float, float],
    reach: FloatMap,
) -> NDArray[np.uint8]:
    """Blocks between streets: houses in gardens, denser towards the centre, and some halls.

    The grid bends a little; a street is one pixel wide and a house one to two.
    """
    bend = rng.uniform(0, 2 * np.pi, 2)
    warped_x = x + 4.0 * np.sin(y / 35.0 + bend[0]).astype(np.float32)
    warped_y = y + 4.0 * np.sin(x / 41.0 + bend[1]).astype(np.float32)
    u, v = noise.turned(warped_x, warped_y, centre, rng.uniform(0, np.pi / 2))
    block_u, block_v = np.floor(u / 11).astype(np.int32), np.floor(v / 7).astype(np.int32)
    in_u, in_v = u - 11 * block_u, v - 7 * block_v
    lot_u, lot_v = np.floor(u / 1.7).astype(np.int32), np.floor(v / 1.5).astype(np.int32)
    salt = int(rng.integers(1 << 16))
    draw = noise.mix(lot_u, lot_v, salt) / 65536
    kind = noise.mix(lot_u, lot_v, salt + 1) / 65536
    block = noise.mix(block_u, block_v, salt + 2) / 65536
    roof = np.select([kind < 0.62, kind < 0.98], [_RED, _GREY], _BRIGHT)
    green = np.where(kind < 0.55, _LAWN, _TREE)
    surface = np.where(draw < 0.72 - 0.34 * np.clip(reach, 0, 1), roof, green)
    hall = (block < 0.16) & (reach > 0.45)
    walls = (in_u > 3) & (in_u < 9.5) & (in_v > 2) & (in_v < 6.2)
    hall_roof = np.where(block < 0.06, _BRIGHT, _GREY)
    surface = np.where(hall, np.where(walls, hall_roof, _YARD), surface)
    avenue = (block_u % 4 == 0) & (in_u < 2.2) | (block_v % 5 == 0) & (in_v < 2.2)
    surface = np.where((in_u < 1.15) | (in_v < 1.15) | avenue, _STREET, surface)
    park = noise.mix(block_u // 3, block_v // 3, salt + 3) > 0.93 * 65536
    return np.where(park & (reach < 0.95), _TREE, surface).astype(np.uint8)
