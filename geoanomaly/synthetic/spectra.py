"""Surface reflectance of what covers the ground, and how crops look in July and in August.

Six bands: B02 blue, B03 green, B04 red, B08 near infrared, B11 and B12 short-wave
infrared, as fractions. The values are typical of Sentinel-2 L2A over central Europe,
rounded: green vegetation has its red edge, dry matter and soil rise towards B11,
water falls to nothing, fire lowers B08 and raises B12.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoanomaly.synthetic.noise import FloatMap

BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")

_SURFACES: dict[str, tuple[float, ...]] = {
    "soil_light": (0.092, 0.122, 0.157, 0.225, 0.315, 0.270),
    "soil_dark": (0.052, 0.066, 0.082, 0.125, 0.190, 0.160),
    "wheat_green": (0.026, 0.056, 0.030, 0.440, 0.185, 0.080),
    "wheat_ripe": (0.062, 0.100, 0.128, 0.270, 0.300, 0.200),
    "stubble": (0.088, 0.127, 0.165, 0.275, 0.350, 0.270),
    "rape_flower": (0.045, 0.128, 0.112, 0.410, 0.200, 0.100),
    "maize": (0.024, 0.054, 0.029, 0.410, 0.175, 0.075),
    "beet": (0.028, 0.068, 0.034, 0.500, 0.205, 0.092),
    "grass": (0.034, 0.072, 0.046, 0.360, 0.225, 0.120),
    "grass_dry": (0.050, 0.086, 0.082, 0.280, 0.275, 0.175),
    "sunflower": (0.034, 0.088, 0.070, 0.380, 0.210, 0.105),
    "deciduous_july": (0.020, 0.046, 0.024, 0.360, 0.165, 0.070),
    "deciduous_august": (0.018, 0.038, 0.022, 0.315, 0.150, 0.066),
    "conifer_july": (0.015, 0.026, 0.018, 0.205, 0.090, 0.041),
    "conifer_august": (0.015, 0.025, 0.017, 0.212, 0.093, 0.042),
    "cleared": (0.058, 0.082, 0.104, 0.190, 0.285, 0.225),
    "burnt": (0.034, 0.040, 0.046, 0.088, 0.190, 0.195),
    "river_july": (0.048, 0.066, 0.056, 0.030, 0.012, 0.008),
    "river_august": (0.046, 0.063, 0.052, 0.028, 0.011, 0.008),
    "lake_july": (0.033, 0.038, 0.023, 0.012, 0.006, 0.004),
    "lake_august": (0.032, 0.042, 0.024, 0.014, 0.006, 0.004),
    "flood": (0.048, 0.068, 0.062, 0.058, 0.034, 0.022),
    "spill": (0.021, 0.024, 0.021, 0.016, 0.014, 0.012),
    "sand": (0.145, 0.185, 0.220, 0.280, 0.330, 0.280),
    "asphalt": (0.086, 0.097, 0.106, 0.134, 0.162, 0.150),
    "concrete": (0.145, 0.165, 0.184, 0.225, 0.255, 0.235),
    "gravel": (0.120, 0.147, 0.174, 0.225, 0.290, 0.262),
    "roof_red": (0.068, 0.088, 0.145, 0.215, 0.262, 0.235),
    "roof_grey": (0.105, 0.116, 0.122, 0.150, 0.172, 0.160),
    "roof_bright": (0.215, 0.232, 0.244, 0.275, 0.285, 0.260),
}

SURFACES: dict[str, FloatMap] = {
    name: np.array(values, np.float32) for name, values in _SURFACES.items()
}
"""Reflectance (band,) by name."""


@dataclass(frozen=True)
class Look:
    """What a parcel shows on one date.

    plant: a name of `SURFACES`; cover: mean share of the ground that it covers,
    the rest is soil; spread: standard deviation of cover between parcels.
    """

    plant: str
    cover: float
    spread: float = 0.06


@dataclass(frozen=True)
class Crop:
    """A parcel's use. share: of all parcels; july: its look on the first date.

    august: looks on the second date with their probabilities. Harvest is a matter of
    days, so one crop has several: normal change that no rule per crop can predict.
    """

    name: str
    share: float
    july: Look
    august: tuple[tuple[float, Look], ...]


_STUBBLE = Look("stubble", 0.74, 0.06)
_PLOUGHED = Look("stubble", 0.30, 0.08)
_RIPE = Look("wheat_ripe", 0.88, 0.05)

CROPS: tuple[Crop, ...] = (
    Crop("wheat", 0.27, _RIPE, ((0.98, _STUBBLE), (0.02, _PLOUGHED))),
    Crop("barley", 0.10, _STUBBLE, ((0.98, Look("stubble", 0.68, 0.06)), (0.02, _PLOUGHED))),
    Crop("rape", 0.08, Look("wheat_ripe", 0.80), ((1.0, _STUBBLE),)),
    Crop("maize", 0.15, Look("maize", 0.72, 0.06), ((1.0, Look("maize", 0.93, 0.04)),)),
    Crop("beet", 0.08, Look("beet", 0.70, 0.06), ((1.0, Look("beet", 0.90, 0.05)),)),
    Crop("sunflower", 0.05, Look("sunflower", 0.64), ((1.0, Look("sunflower", 0.85)),)),
    Crop(
        "meadow",
        0.25,
        Look("grass", 0.86, 0.06),
        ((0.96, Look("grass", 0.78, 0.06)), (0.04, Look("grass_dry", 0.80, 0.06))),
    ),
    Crop("fallow", 0.02, Look("grass", 0.30, 0.08), ((1.0, Look("grass_dry", 0.48, 0.08)),)),
)

MEADOW = next(number for number, crop in enumerate(CROPS) if crop.name == "meadow")


@dataclass(frozen=True)
class ParcelTable:
    """The looks of every parcel key on one date. plant: (key, band); cover: (key,)."""

    plant: NDArray[np.float32]
    cover: NDArray[np.float32]


def crop_of(rng: np.random.Generator, keys: int) -> NDArray[np.uint8]:
    """A number of `CROPS` for each parcel key, by their shares."""
    shares = np.array([crop.share for crop in CROPS])
    return rng.choice(len(CROPS), size=keys, p=shares / shares.sum()).astype(np.uint8)


def parcels(rng: np.random.Generator, crops: NDArray[np.uint8], *, after: bool) -> ParcelTable:
    """The looks of each parcel on the first date, or on the second (`after`)."""
    plant = np.zeros((crops.size, len(BANDS)), np.float32)
    cover = np.zeros(crops.size, np.float32)
    draw, normal = rng.random(crops.size), rng.standard_normal(crops.size)
    for number, crop in enumerate(CROPS):
        low = 0.0
        for share, look in crop.august if after else ((1.0, crop.july),):
            here = (crops == number) & (draw >= low) & (draw < low + share + 1e-9)
            plant[here] = SURFACES[look.plant]
            cover[here] = np.clip(look.cover + look.spread * normal[here], 0.02, 0.99)
            low += share
    tint = 1.0 + 0.04 * rng.standard_normal((crops.size, 1))
    return ParcelTable((plant * tint).astype(np.float32), cover)
