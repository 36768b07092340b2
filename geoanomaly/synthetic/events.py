"""The shapes of planted anomalies: how much of each pixel a clearing, a fire, .. covers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoanomaly.synthetic import noise
from geoanomaly.synthetic.layout import Layout
from geoanomaly.synthetic.noise import FloatMap


@dataclass(frozen=True)
class Event:
    """An anomaly as it is drawn. share: (y, x) of a pixel that it covers, 0 to 1."""

    kind: str
    share: FloatMap


@dataclass(frozen=True)
class Site:
    """A place: centre (x, y) and radius in pixels."""

    x: float
    y: float
    radius: float


def clearing(layout: Layout, rng: np.random.Generator, site: Site) -> Event:
    """A felled stand: a rough rectangle in the forest, some trees left standing."""
    u, v = _around(layout, site, rng.uniform(0, np.pi))
    ragged = noise.fractal(rng, layout.shape, slope=1.0, largest=2 * site.radius, smallest=3.0)
    inside = 1 - np.maximum(np.abs(u) / 1.1, np.abs(v) / 0.72) + 0.13 * ragged
    felled = np.clip(inside * site.radius + 0.5, 0, 1)
    standing = 0.12 * np.clip(layout.mottle, 0, 2)
    return Event("clearing", (felled * layout.forest * (1 - standing)).astype(np.float32))


def burn(layout: Layout, rng: np.random.Generator, site: Site, dry: FloatMap) -> Event:
    """A scar drawn out by the wind, with unburnt islands and patches of low severity."""
    u, v = _around(layout, site, rng.uniform(0, np.pi))
    flame = noise.fractal(rng, layout.shape, slope=1.3, largest=2 * site.radius, smallest=2.5)
    reach = np.hypot(u / 1.5, v / 0.85)
    front = np.clip((1.15 - reach + 0.38 * flame) * site.radius * 0.6, 0, 1)
    patches = noise.fractal(rng, layout.shape, slope=1.0, largest=1.2 * site.radius)
    severity = np.clip(0.82 + 0.16 * patches, 0.35, 1)
    share = front * severity * dry * (1 - layout.paved) * noise.ramp(1.9 - reach, 0, 0.2)
    return Event("burn", share.astype(np.float32))


def building(layout: Layout, site: Site) -> Event:
    """A hall and its annex on a paved yard, aligned with the road beside it."""
    row, column = int(site.y), int(site.x)
    slope_y, slope_x = np.gradient(layout.road.side[_window(layout, row, column)])
    angle = float(np.arctan2(slope_y.mean(), slope_x.mean())) + np.pi / 2
    u, v = _around(layout, site, angle)
    hall = _rectangle(u, v, 0.85, 0.52, site.radius)
    annex = _rectangle(u - 0.55, v - 0.72, 0.42, 0.34, site.radius)
    yard = 0.8 * _rectangle(u, v, 1.08, 0.8, site.radius)
    share = np.maximum(np.maximum(hall, annex), yard) * (1 - layout.paved)
    return Event("building", share.astype(np.float32))


def spill(layout: Layout, rng: np.random.Generator) -> Event:
    """Oil from one bank that spreads over the river downstream and thins out."""
    start, length = _reach(layout, 0.22 + 0.08 * rng.random()), 110.0 * layout.scale
    down = (layout.river.position - start) / length
    across = layout.river.side / layout.half_width
    bank = 1.0 if rng.random() < 0.5 else -1.0
    streaks = noise.fractal(rng, layout.shape, slope=1.0, largest=25 * layout.scale, smallest=2.0)
    width = 0.75 + 1.1 * np.sqrt(np.clip(down, 0, 1))
    middle = bank * (0.55 - 0.5 * np.clip(down, 0, 1))
    film = np.clip((1 - np.abs(across - middle) / width) * 3.0 + 0.3 * streaks, 0, 1)
    fade = noise.ramp(down, -0.01, 0.06) * noise.ramp(down, 1.0, 0.6)
    share = film * fade * (0.92 + 0.06 * streaks)
    return Event("spill", (np.clip(share, 0, 1) * layout.water * (1 - layout.paved)).astype("f4"))


def flood(layout: Layout, rng: np.random.Generator) -> Event:
    """Water over the fields beside one bend, following the ground; woods and houses stand out."""
    middle = _reach(layout, 0.74 + 0.06 * rng.random())
    row, column = np.unravel_index(
        int(np.argmin(np.abs(layout.river.position - middle) + layout.river.distance)), layout.shape
    )
    u, v = _around(layout, Site(float(column), float(row), 62.0 * layout.scale), 0.0)
    ground = noise.fractal(rng, layout.shape, slope=1.5, largest=90 * layout.scale, smallest=3.0)
    hollows = noise.fractal(rng, layout.shape, slope=1.0, largest=15.0, smallest=2.0)
    bump = np.exp(-(u**2 + v**2))
    reach = 52.0 * layout.scale * bump * (1 + 0.45 * ground) + 1.2 * hollows * bump
    depth = reach - (layout.river.distance - layout.half_width)
    open_ground = (1 - layout.water) * (1 - layout.lake) * (1 - layout.town.share)
    share = noise.ramp(depth, -0.8, 2.5) * open_ground * noise.ramp(bump, 0.08, 0.2)
    share = share * (1 - 0.75 * layout.forest) * (1 - layout.paved)
    return Event("flood", (0.9 * share).astype(np.float32))


def _around(layout: Layout, site: Site, angle: float) -> tuple[FloatMap, FloatMap]:
    """Turned coordinates about a site in units of its radius."""
    y, x = np.mgrid[: layout.shape[0], : layout.shape[1]].astype(np.float32)
    u, v = noise.turned(x, y, (site.x, site.y), angle)
    return u / np.float32(site.radius), v / np.float32(site.radius)


def _rectangle(u: FloatMap, v: FloatMap, half_u: float, half_v: float, radius: float) -> FloatMap:
    """Share of each pixel inside a rectangle given in radii."""
    across = np.clip((half_u - np.abs(u)) * radius + 0.5, 0, 1)
    return np.asarray(across * np.clip((half_v - np.abs(v)) * radius + 0.5, 0, 1), dtype=np.float32)


def _reach(layout: Layout, fraction: float) -> float:
    """Pixels along the river to a fraction of its way through the scene."""
    inside = layout.river.position[layout.water > 0.5]
    return float(inside.min() + fraction * (inside.max() - inside.min()))


def _window(layout: Layout, row: int, column: int) -> tuple[slice, slice]:
    """Five by five pixels about a place, inside the scene."""
    height, width = layout.shape
    top, left = min(max(row - 2, 0), height - 5), min(max(column - 2, 0), width - 5)
    return slice(top, top + 5), slice(left, left + 5)
