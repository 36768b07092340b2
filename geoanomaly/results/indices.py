"""Spectral indices by the names of bands: what a person asks of a place after its value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoanomaly.scenes.sensors import band_of


@dataclass(frozen=True)
class Index:
    """The normalised difference (plus - minus) / (plus + minus) of two roles of bands.

    tells: of what it speaks.
    """

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
        plus, minus = band_of(index.plus, bands), band_of(index.minus, bands)
        if plus is not None and minus is not None:
            found.append((index, _difference(data[plus], data[minus])))
    if not found:
        return (), np.empty((0, *data.shape[1:]))
    return tuple(index for index, _ in found), np.stack([values for _, values in found])


def _difference(plus: NDArray[np.float64], minus: NDArray[np.float64]) -> NDArray[np.float64]:
    # Reflectance below zero is noise of the correction; the index would leave its range.
    plus, minus = np.maximum(plus, 0), np.maximum(minus, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((plus - minus) / (plus + minus))
