"""Random fields and plane geometry on a pixel grid: the bricks of a landscape.

Coordinates are pixels, x to the right and y down; arrays are (y, x).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import distance_transform_edt

FloatMap = NDArray[np.float32]
IntMap = NDArray[np.int32]
Shape = tuple[int, int]


def fractal(
    rng: np.random.Generator,
    shape: Shape,
    *,
    slope: float = 2.0,
    largest: float = 1e9,
    smallest: float = 2.0,
) -> FloatMap:
    """Gaussian noise with a power-law spectrum, mean 0 and standard deviation 1.

    slope: amplitude falls as frequency**-slope (0 white, 1 rough, 2 smooth hills).
    largest, smallest: wavelengths in pixels beyond which there is (almost) nothing.
    """
    height, width = shape
    white = rng.standard_normal(shape, dtype=np.float32)
    rows, columns = (f.astype(np.float32) for f in (fft.fftfreq(height), fft.rfftfreq(width)))
    squared = rows[:, None] ** 2 + columns[None, :] ** 2
    lowest = np.float32(max(1.0 / largest, 1.0 / max(shape)) ** 2)
    # One exponential for both the power law and the fine cut: this is the hot line.
    log_gain = -slope / 2 * np.log(np.maximum(squared, lowest)) - squared * (smallest**2 / 2)
    gain = np.exp(log_gain.astype(np.float32))
    gain[0, 0] = 0.0
    field = fft.irfft2(fft.rfft2(white) * gain, s=shape).astype(np.float32)
    return np.asarray(field / max(float(field.std()), 1e-9), dtype=np.float32)


def ramp(values: FloatMap, low: float, high: float) -> FloatMap:
    """0 below `low`, 1 above `high`, smooth between (falls where low > high)."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)


def mix(*keys: IntMap | int) -> NDArray[np.uint16]:
    """Hash of integer maps to 16 bits: a key into a table of per-parcel properties."""
    state: NDArray[np.uint32] = np.zeros(np.broadcast_shapes(*map(np.shape, keys)), np.uint32)
    for key in keys:
        state = (state ^ np.asarray(key).astype(np.uint32)) * np.uint32(2654435761)
        state ^= state >> np.uint32(15)
    state = state * np.uint32(2246822519)
    return ((state >> np.uint32(13)) & np.uint32(0xFFFF)).astype(np.uint16)


@dataclass(frozen=True)
class Cells:
    """Voronoi cells. index: (y, x) number of the cell; border: (y, x) pixels to the next cell."""

    index: IntMap
    border: FloatMap
    count: int


def cells(rng: np.random.Generator, x: FloatMap, y: FloatMap, spacing: float) -> Cells:
    """Irregular polygons about `spacing` pixels wide, from a jittered grid of seeds."""
    rows = int(float(y.max() - y.min()) / spacing) + 5
    columns = int(float(x.max() - x.min()) / spacing) + 5
    jitter = rng.uniform(0.05, 0.95, (2, rows, columns)).astype(np.float32)
    u = (x - x.min()) / spacing + 2.0
    v = (y - y.min()) / spacing + 2.0
    column, row = u.astype(np.int32), v.astype(np.int32)
    nearest = np.full(x.shape, np.inf, np.float32)
    second = nearest.copy()
    index = np.zeros(x.shape, np.int32)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            r, c = row + dy, column + dx
            distance = (c + jitter[0, r, c] - u) ** 2 + (r + jitter[1, r, c] - v) ** 2
            closer = distance < nearest
            second = np.where(closer, nearest, np.minimum(second, distance))
            index = np.where(closer, r * columns + c, index)
            nearest = np.where(closer, distance, nearest)
    border = ((np.sqrt(second) - np.sqrt(nearest)) / 2 * spacing).astype(np.float32)
    return Cells(index.astype(np.int32), border, rows * columns)


@dataclass(frozen=True)
class Along:
    """Where a pixel lies beside a line.

    distance: (y, x) pixels from the line; side: the same, negative to the left of
    travel; position: (y, x) pixels along the line from its start, at the nearest point.
    """

    distance: FloatMap
    side: FloatMap
    position: FloatMap


def along(points: NDArray[np.float64], shape: Shape) -> Along:
    """Distances to a line given as dense `points` (n, 2) of (x, y), at most half a pixel apart.

    The distance transform finds the nearest pixel that the line crosses; the point
    kept for that pixel then gives the distance to a fraction of a pixel.
    """
    margin = 8
    height, width = shape[0] + 2 * margin, shape[1] + 2 * margin
    cell = np.round(points).astype(int) + margin
    inside = ((cell >= 0) & (cell < (width, height))).all(axis=1)
    nearest_point = np.full((height, width), -1, np.int32)
    nearest_point[cell[inside, 1], cell[inside, 0]] = np.flatnonzero(inside)
    rows, columns = distance_transform_edt(
        nearest_point < 0, return_distances=False, return_indices=True
    )
    core = (slice(margin, -margin), slice(margin, -margin))
    number = nearest_point[rows[core], columns[core]]
    y, x = np.mgrid[: shape[0], : shape[1]]
    tangent = np.gradient(points, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    dx, dy = x - points[number, 0], y - points[number, 1]
    distance = np.hypot(dx, dy)
    left = tangent[number, 0] * dy - tangent[number, 1] * dx < 0
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    length = np.concatenate([[0.0], np.cumsum(steps)])
    return Along(
        distance.astype(np.float32),
        np.where(left, -distance, distance).astype(np.float32),
        length[number].astype(np.float32),
    )


def dense(knots: NDArray[np.float64], step: float = 0.5) -> NDArray[np.float64]:
    """Points of the broken line through `knots` (n, 2), about `step` pixels apart."""
    lengths = np.linalg.norm(np.diff(knots, axis=0), axis=1)
    position = np.concatenate([[0.0], np.cumsum(lengths)])
    at = np.arange(0.0, position[-1], step)
    return np.stack([np.interp(at, position, knots[:, axis]) for axis in (0, 1)], axis=1)


def turned(
    x: FloatMap, y: FloatMap, centre: tuple[float, float], angle: float
) -> tuple[FloatMap, FloatMap]:
    """Coordinates (u, v) about `centre` (x, y), with u along `angle` (radians, clockwise)."""
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return dx * c + dy * s, dy * c - dx * s
