"""From raw scores to surprise: -log10 of the share of normal pixels that score as high.

An estimate without labels: the log scores of normal pixels are taken as Gaussian,
with the location and the scale of the lower half of all pixels, which anomalies
do not reach. Chi-square tails are not used: at a nominal 1 % they flag a third
of unchanged ground.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from geoanomaly.sampling import Sample

CEILING = 100.0
"""Surprise is cut here, where float32 begins to lose digits. Values beyond 6 or so only rank: no
estimate of a tail holds there."""

_TINY = 1e-12


@dataclass(frozen=True)
class Calibration:
    """median, sigma: of the log scores of normal pixels; pixels: how many it was made from."""

    median: float
    sigma: float
    pixels: int
    method: str = "log-normal, from the median and the lower half of the scores"

    def surprise(self, score: NDArray[np.float32]) -> NDArray[np.float32]:
        """Raw scores (any shape) -> surprise, 0 to `CEILING`; NaN stays NaN."""
        deviate = (np.log(np.maximum(score, _TINY)) - self.median) / self.sigma
        tail = -log_ndtr(-deviate.astype(np.float64)) / np.log(10)
        return np.asarray(np.minimum(tail, CEILING), dtype=np.float32)

    def config(self) -> dict[str, Any]:
        return asdict(self)


def calibrate(scores: NDArray[np.float32]) -> Calibration:
    """Calibrate on scores of sampled pixels, (pixels,), mostly normal."""
    logs = np.log(np.maximum(scores[np.isfinite(scores)].astype(np.float64), _TINY))
    low, median = np.quantile(logs, (0.1587, 0.5))
    # A scene of one colour scores alike everywhere: any spread then keeps it ordinary.
    return Calibration(float(median), max(float(median - low), 1e-3), int(logs.size))


def sample_scores(detector: Any, sample: Sample) -> NDArray[np.float32]:
    """Scores of a sample's core pixels, (pixels,), window by window as in detection."""
    scores = []
    for number in range(len(sample.core)):
        window = tuple(
            type(batch)(batch.data[number : number + 1], batch.valid[number : number + 1])
            for batch in sample.batches
        )
        scores.append(detector.score(window)[0][sample.core[number]])
    return np.concatenate(scores)
