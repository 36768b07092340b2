"""One cloud and its shadow, put where it hides nothing that is to be found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift

from geoanomaly.synthetic import noise
from geoanomaly.synthetic.events import Event
from geoanomaly.synthetic.layout import Layout
from geoanomaly.synthetic.noise import FloatMap


@dataclass(frozen=True)
class Clouds:
    """share: (y, x) hidden; depth: (y, x) 0 thin to 1 thick; shadow: (y, x) 0 to 1."""

    share: FloatMap
    depth: FloatMap
    shadow: FloatMap

    @property
    def touched(self) -> NDArray[np.bool_]:
        """Pixels that show anything of cloud or shadow."""
        return np.asarray((self.share > 0.01) | (self.shadow > 0.02))


def drift(layout: Layout, events: tuple[Event, ...]) -> Clouds:
    """A ragged cloud; its shadow falls to the north-north-west, away from the sun."""
    rng = np.random.default_rng([layout.seed, 4])
    height, width = layout.shape
    radius = 0.075 * min(height, width)
    offset = (-0.9 * radius, -0.45 * radius)
    x, y = _clear_place(rng, layout.shape, events, radius, offset)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    reach = np.hypot((columns - x) / 1.25, (rows - y) / 0.9) / radius
    puffs = noise.fractal(rng, layout.shape, slope=1.35, largest=2.2 * radius, smallest=2.5)
    body = np.where(reach < 1.75, 0.85 - reach + 0.40 * puffs, -1.0).astype(np.float32)
    share = noise.ramp(body, -0.05, 0.5)
    shadow = shift(share, offset, order=1, mode="constant", prefilter=False)
    return Clouds(share, noise.ramp(body, 0.1, 1.1), shadow.astype(np.float32))


def _clear_place(
    rng: np.random.Generator,
    shape: tuple[int, int],
    events: tuple[Event, ...],
    radius: float,
    offset: tuple[float, float],
) -> tuple[float, float]:
    """Of 200 random places (x, y), the one farthest from every event, for cloud and shadow."""
    height, width = shape
    spots = [np.argwhere(event.share > 0.1)[:: max(1, int(radius / 8))] for event in events]
    busy = np.concatenate([*spots, [(-10 * height, -10 * width)]])
    places = rng.uniform(1.2 * radius, (height - 1.2 * radius, width - 1.2 * radius), (200, 2))
    gaps = [
        min(
            float(np.hypot(*(busy - place).T).min()),
            float(np.hypot(*(busy - place - offset).T).min()),
        )
        for place in places
    ]
    row, column = places[int(np.argmax(gaps))]
    return float(column), float(row)
