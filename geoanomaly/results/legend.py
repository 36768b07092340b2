"""How surprise looks: one ramp for tiles, map legend, QGIS style and preview.

The ramp is fixed, never stretched per image, so two heatmaps can be compared by
eye. It runs in one hue order of falling lightness (readable with colour-vision
deficiency and in grey print) and starts transparent: what is ordinary shows the
scene below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

RGBA = tuple[int, int, int, int]


@dataclass(frozen=True)
class Step:
    """One class of the ramp: surprise in [low, high) and what it means."""

    low: float
    high: float
    colour: RGBA
    meaning: str


RAMP: tuple[Step, ...] = (
    Step(0.0, 1.0, (0, 0, 0, 0), "ordinary"),
    Step(1.0, 1.5, (254, 217, 118, 90), "1 normal pixel in 10"),
    Step(1.5, 2.0, (254, 196, 79, 150), "1 in 30"),
    Step(2.0, 3.0, (253, 141, 60, 215), "1 in 100"),
    Step(3.0, 4.0, (240, 59, 32, 235), "1 in 1,000"),
    Step(4.0, 6.0, (189, 0, 38, 245), "1 in 10,000"),
    Step(6.0, 1e9, (90, 0, 60, 255), "1 in a million or rarer"),
)

LEVELS = 32
"""Grey levels to a step of surprise, where a page draws its own threshold: 255 is 7.97 or more."""

UNIT = "surprise: -log10 of the share of normal pixels that score as high"


def caution(reasons: Sequence[str]) -> str:
    """What stands beside a map that is not to be trusted as it stands; empty for others."""
    return f"Doubtful: {' '.join(reasons)}" if reasons else ""


def colormap() -> list[tuple[tuple[float, float], RGBA]]:
    """The ramp as rio-tiler's interval colour map."""
    return [((step.low, step.high), step.colour) for step in RAMP]


def surprise_at(false_alarm_rate: float) -> float:
    """The surprise that this share of normal pixels reaches."""
    return float(-np.log10(false_alarm_rate))


def coloured(surprise: NDArray[Any]) -> NDArray[np.uint8]:
    """Its colours on the ramp, (..., 4); transparent where it is ordinary or NaN."""
    colours = np.array([step.colour for step in RAMP], dtype=np.uint8)
    picture: NDArray[np.uint8] = colours[np.digitize(surprise, [step.low for step in RAMP[1:]])]
    picture[~np.isfinite(surprise)] = 0
    return picture


def coloured_png(surprise: NDArray[Any]) -> bytes:
    """`coloured`, (y, x), as a PNG of one byte a pixel: a quarter of the work of one with four."""
    from PIL import Image

    classes = np.digitize(np.nan_to_num(surprise, posinf=0), [step.low for step in RAMP[1:]])
    picture = Image.fromarray(classes.astype(np.uint8)).convert("P")
    picture.putpalette([part for step in RAMP for part in step.colour[:3]])
    file = BytesIO()
    alphas = bytes(step.colour[3] for step in RAMP)
    picture.save(file, "png", transparency=alphas, compress_level=1)
    return file.getvalue()


def shares(colour: RGBA) -> tuple[float, float, float, float]:
    """A colour from 0 to 1, as matplotlib has it."""
    red, green, blue, alpha = (part / 255 for part in colour)
    return red, green, blue, alpha
