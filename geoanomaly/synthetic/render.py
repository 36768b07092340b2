"""What a sensor sees of a landscape on a date: ground, light, air, optics, cloud, noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import convolve1d

from geoanomaly.synthetic import noise, settlement
from geoanomaly.synthetic.clouds import Clouds
from geoanomaly.synthetic.events import Event
from geoanomaly.synthetic.layout import Layout
from geoanomaly.synthetic.noise import FloatMap
from geoanomaly.synthetic.spectra import SURFACES, parcels

BLUR = (0.55, 0.55, 0.55, 0.55, 0.95, 0.95)
"""Optics per band: deviation of the point spread in pixels; B11 and B12 have 20 m pixels."""


@dataclass(frozen=True)
class Acquisition:
    """The conditions of a date.

    sun: (azimuth, elevation) in degrees; gain, haze: per band, factor and path
    reflectance left by an imperfect correction; gradient: relative brightening from
    one corner to the other; shift: (x, y) of the image in pixels; moisture: 0..1 of soil.
    """

    date: str
    after: bool
    sun: tuple[float, float]
    gain: tuple[float, ...]
    haze: tuple[float, ...]
    gradient: float
    shift: tuple[float, float]
    moisture: float


JULY = Acquisition(
    date="2024-07-14",
    after=False,
    sun=(156.0, 57.0),
    gain=(1.16, 1.14, 1.12, 1.10, 1.12, 1.14),
    haze=(0.034, 0.024, 0.016, 0.008, 0.003, 0.001),
    gradient=0.10,
    shift=(0.3, -0.2),
    moisture=0.55,
)
AUGUST = Acquisition(
    date="2024-08-27",
    after=True,
    sun=(162.0, 48.0),
    gain=(0.88, 0.90, 0.90, 0.92, 0.88, 0.86),
    haze=(0.004, 0.003, 0.002, 0.001, 0.0, 0.0),
    gradient=-0.04,
    shift=(0.0, 0.0),
    moisture=0.2,
)


def reflectance(
    layout: Layout,
    acquisition: Acquisition,
    events: tuple[Event, ...] = (),
    clouds: Clouds | None = None,
) -> FloatMap:
    """Surface reflectance (band, y, x) as a product would give it, in [0.0001, 1.2]."""
    rng = np.random.default_rng([layout.seed, 3, int(acquisition.after)])
    image = _ground(layout, acquisition, rng)
    for event in events:
        image = _happen(image, layout, event)
    image = _light(image, layout, acquisition)
    if clouds is not None:
        image = _cover(image, clouds)
    image = np.stack(
        [_see(band, blur, acquisition.shift) for band, blur in zip(image, BLUR, strict=True)]
    )
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image + grain * (0.0012 + 0.006 * image), 1e-4, 1.2).astype(np.float32)


def _ground(layout: Layout, acquisition: Acquisition, rng: np.random.Generator) -> FloatMap:
    """Every layer of the land, from fields to roads."""
    season = "august" if acquisition.after else "july"
    image = _fields(layout, acquisition, rng)
    image = _lay(image, np.clip(0.9 - layout.edge, 0, 0.55), SURFACES["grass"])
    image = _lay(image, layout.track, SURFACES["gravel"])
    image = _lay(image, layout.forest, _trees(layout, season, rng))
    ripple = (0.05 * noise.fractal(rng, layout.shape, slope=1.2, largest=200.0))[None]
    image = _lay(image, layout.lake, SURFACES[f"lake_{season}"][:, None, None] * (1 + ripple))
    image = _lay(image, layout.sand, SURFACES["sand"])
    image = _lay(image, layout.water, SURFACES[f"river_{season}"][:, None, None] * (1 + ripple))
    materials = np.stack([SURFACES[name] for name in settlement.MATERIALS], axis=1)
    # A house is smaller than a pixel: most of them show some of the garden too.
    gardens = materials.mean(axis=1)[:, None, None]
    houses = gardens + 0.6 * (materials[:, layout.town.material] - gardens)
    houses = houses * (1 + 0.07 * layout.mottle)
    image = _lay(image, layout.town.share, houses)
    return _lay(image, layout.paved, SURFACES["asphalt"])


def _fields(layout: Layout, acquisition: Acquisition, rng: np.random.Generator) -> FloatMap:
    """Plants over soil, with vigour that varies inside a parcel and between dates."""
    table = parcels(rng, layout.crops, after=acquisition.after)
    growth = 0.8 * layout.vigour + 0.6 * noise.fractal(rng, layout.shape, slope=1.2, largest=50.0)
    mean = table.cover[layout.parcel]
    cover = np.clip(mean + 0.085 * growth * (4 * mean * (1 - mean) + 0.25), 0, 1)
    dark, light = (SURFACES[name][:, None, None] for name in ("soil_dark", "soil_light"))
    soil = dark + (light - dark) * layout.soil * (1 - 0.45 * acquisition.moisture)
    soil = soil * (1 + 0.03 * layout.mottle)
    plants = table.plant.T[:, layout.parcel] * (1 + 0.03 * growth + 0.02 * layout.mottle)
    return _lay(soil, cover, plants)


def _trees(layout: Layout, season: str, rng: np.random.Generator) -> FloatMap:
    """Crowns and their shadows; leaves are patchy in stands, conifers darker."""
    leaf = SURFACES[f"deciduous_{season}"][:, None, None]
    needle = SURFACES[f"conifer_{season}"][:, None, None]
    stand = 0.07 * noise.fractal(rng, layout.shape, slope=1.2, largest=60.0)
    crowns = np.clip(1 + 0.13 * layout.mottle + 0.05 * layout.vigour + stand, 0.5, 1.6)
    return np.asarray(_lay(leaf, layout.conifer, needle) * crowns, dtype=np.float32)


def _happen(image: FloatMap, layout: Layout, event: Event) -> FloatMap:
    """Lay one anomaly over the ground."""
    grain = 1 + (0.03 if event.kind in ("flood", "spill") else 0.10) * layout.mottle
    if event.kind == "building":
        # Whole in the middle is the roof; the yard around it is paved, share at most 0.8.
        roof = noise.ramp(event.share, 0.8, 0.95)
        surface = _lay(SURFACES["concrete"][:, None, None], roof, SURFACES["roof_grey"]) * grain
        return _lay(image, event.share, surface)
    name = {"clearing": "cleared", "burn": "burnt"}.get(event.kind, event.kind)
    return _lay(image, event.share, SURFACES[name][:, None, None] * grain)


def _light(image: FloatMap, layout: Layout, acquisition: Acquisition) -> FloatMap:
    """Slopes towards the sun are brighter; then gain, haze and a slow gradient."""
    azimuth, elevation = np.radians(acquisition.sun)
    steepness = 1.3
    fall_y, fall_x = np.gradient(layout.relief * steepness)
    towards = -fall_x * np.sin(azimuth) + fall_y * np.cos(azimuth)
    # A Lambert slope over a flat one; half of it is what a correction leaves behind.
    slopes = 1 + 0.5 * np.clip(towards / np.tan(elevation) * 4.0, -0.5, 0.5)
    height, width = layout.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    across = (x / width + y / height) / 2 - 0.5
    light = slopes * (1 + acquisition.gradient * across)
    gain = np.array(acquisition.gain, np.float32)[:, None, None]
    haze = np.array(acquisition.haze, np.float32)[:, None, None]
    return np.asarray(image * gain * light + haze * (1 + 0.6 * across), dtype=np.float32)


def _cover(image: FloatMap, clouds: Clouds) -> FloatMap:
    """Shadow darkens, cloud hides; ice and water absorb a little in the short-wave infrared."""
    white = np.array((0.52, 0.50, 0.50, 0.54, 0.42, 0.33), np.float32)[:, None, None]
    shaded = image * (
        1 - np.array((0.42, 0.5, 0.55, 0.6, 0.62, 0.62))[:, None, None] * clouds.shadow
    )
    return _lay(shaded.astype(np.float32), clouds.share, white * (0.75 + 0.5 * clouds.depth))


def _see(band: FloatMap, blur: float, shift: tuple[float, float]) -> FloatMap:
    """One band through the optics: a Gaussian kernel whose centre is off by the shift."""
    taps = np.arange(-4, 5)
    for axis, offset in ((0, shift[1]), (1, shift[0])):
        kernel = np.exp(-((taps - offset) ** 2) / (2 * blur**2))
        band = convolve1d(band, kernel / kernel.sum(), axis=axis, mode="nearest")
    return band


def _lay(below: FloatMap, share: FloatMap, above: FloatMap) -> FloatMap:
    """`above` (band,) or (band, y, x) over `below`, covering `share` (y, x) of each pixel."""
    surface = above[:, None, None] if above.ndim == 1 else above
    return np.asarray(below + share * (surface - below), dtype=np.float32)
