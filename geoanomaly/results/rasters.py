"""The two rasters of a result, wherever they are written: how they are stored, what is above."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoanomaly.results.legend import UNIT
from tiling.cog import CogProfile

HEATMAP, MASK = "heatmap.tif", "mask.tif"

NODATA = 255
"""Of a mask: where the heatmap has no value."""
_COLOURS = {0: (0, 0, 0, 0), 1: (240, 59, 32, 255), NODATA: (0, 0, 0, 0)}


def heatmap_profile(tags: Mapping[str, str]) -> CogProfile:
    """Of surprise; NaN = no value."""
    return CogProfile("float32", np.nan, UNIT, tags=tags)


def mask_profile(tags: Mapping[str, str]) -> CogProfile:
    return CogProfile(
        "uint8",
        NODATA,
        "1 = anomalous, 0 = ordinary",
        resampling="NEAREST",  # the most frequent value would hide what is small, and takes long
        tags=tags,
        colormap=_COLOURS,
    )


def above(surprise: NDArray[Any], threshold: float) -> NDArray[np.uint8]:
    """What a mask has for surprise: 1 = at the threshold or above, 255 = no value."""
    found = (surprise >= threshold).view(np.uint8)
    found[~np.isfinite(surprise)] = NODATA
    return found
