"""Spectral indices by the names of bands: what a person asks of a place after its value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROLES: Mapping[str, tuple[str, ...]] = {
    "green": ("B03", "green"),
    "red": ("B04", "red"),
    "nir": ("B08", "B8A", "nir08", "nir"),
    "swir1": ("B11", "swir16"),
    "swir2": ("B12", "swir22"),
}


@dataclass(frozen=True)
class Index:
    """The normalised difference (plus - minus) / (plus + minus); tells: of what it speaks."""

    name: str
    plus: str
    minus: str
    tells: str


INDICES = (
    Index("NDVI", "nir", "red", "vegetation"),  # Rouse et al. 1974
    Index("NDWI", "green", "nir", "open water"),  # McFeeters 1996
    Index("NBR", "nir", "swir2", "unburnt vegetation"),  # Key and Benson 2006
    Index("NDBI", "swir1", "nir", "built-up or bare ground"),  # Zha et al. 2003
)


def indices(
    data: NDArray[np.float64], bands: Sequence[str]
) -> tuple[tuple[Index, ...], NDArray[np.float64]]:
    """The indices that the bands allow: data (band, ...) -> (index, ...), NaN where undefined."""
    found = []
    for index in INDICES:
        plus, minus = _band(index.plus, bands), _band(index.minus, bands)
        if plus is not None and minus is not None:
            found.append((index, _difference(data[plus], data[minus])))
    if not found:
        return (), np.empty((0, *data.shape[1:]))
    return tuple(index for index, _ in found), np.stack([values for _, values in found])


def _band(role: str, bands: Sequence[str]) -> int | None:
    return next((bands.index(name) for name in ROLES[role] if name in bands), None)


def _difference(plus: NDArray[np.float64], minus: NDArray[np.float64]) -> NDArray[np.float64]:
    # Reflectance below zero is noise of the correction; the index would leave its range.
    plus, minus = np.maximum(plus, 0), np.maximum(minus, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((plus - minus) / (plus + minus))
