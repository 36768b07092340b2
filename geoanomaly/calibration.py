"""From raw scores to surprise: -log10 of the share of normal pixels that score as high.

An estimate without labels: the log scores of normal pixels are taken as Gaussian,
with the location and the scale of the lower half of all pixels, which anomalies
do not reach. Chi-square tails are not used: at a nominal 1 % they flag a third
of unchanged ground.

With earlier dates of the place it is no longer an estimate: `Conformal` counts how
often pairs of these dates, in which nothing unusual is assumed, score as high (Vovk
et al. 2005; Angelopoulos & Bates 2021, arXiv:2107.07511). Neighbours resemble each
other, so it counts by spatial blocks (Mao, Martin & Reich 2020, arXiv:2006.15640;
groups of equal weight: Lee, Barber & Willett 2023, arXiv:2306.06342).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from geoanomaly.scenes.sampling import Sample

CEILING = 100.0
"""Surprise is cut here, where float32 begins to lose digits. Values beyond 6 or so only rank: no
estimate of a tail holds there."""

_TINY = 1e-12

BLOCK = 32
"""Side in pixels of the blocks that count as one another's like."""

MIN_FILLED = 0.25
"""Share of a block that must be scored for it to count."""

TAIL = 0.01
"""Share of scores at whose height it is measured how much neighbours resemble each other."""

RESOLVED = 10.0
"""Independent scores that must lie above a score for their count to be believed."""

KNOTS = 200


class Calibration(Protocol):
    """What turns raw scores into surprise."""

    def surprise(self, score: NDArray[np.float32]) -> NDArray[np.float32]:
        """Raw scores (any shape) -> surprise, 0 to `CEILING`; NaN stays NaN."""
        ...

    @property
    def basis(self) -> str:
        """What it rests on, for users: the word estimate, or the history."""
        ...

    def config(self) -> dict[str, Any]:
        """JSON-ready, with "method"; `restore` makes an equal one."""
        ...


ESTIMATE = "estimate, without history of the place"

_LOWEST, _HIGHEST, _KNOTS_A_DEVIATE = -8, 22, 256
_EXACT = -log_ndtr(-np.arange(_LOWEST, _HIGHEST, 1 / _KNOTS_A_DEVIATE)) / np.log(10)
_TAIL = _EXACT.astype(np.float32)
_RISE = np.diff(_EXACT, append=_EXACT[-1]).astype(np.float32)


def _normal_tail(deviate: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """-log10 of the share of normal deviates above; NaN stays NaN.

    Between knots a straight line, 3e-6 off at most up to six deviates: the function itself would
    take more than half as long as the reading of the pixels. It has passed `CEILING` at the last
    knot.
    """
    place = np.clip((deviate - _LOWEST) * _KNOTS_A_DEVIATE, 0, len(_TAIL) - 1)
    knot = np.fmax(place, 0).astype(np.int16)  # which the difference keeps in 32 bits
    return np.asarray(_TAIL[knot] + (place - knot) * _RISE[knot])


@dataclass(frozen=True)
class LogNormal:
    """median, sigma: of the log scores of normal pixels; pixels: how many it was made from."""

    median: float
    sigma: float
    pixels: int

    def surprise(self, score: NDArray[np.float32]) -> NDArray[np.float32]:
        deviate = (np.log(np.maximum(score, _TINY)) - self.median) / self.sigma
        return np.asarray(np.minimum(_normal_tail(deviate), CEILING), dtype=np.float32)

    @property
    def basis(self) -> str:
        return ESTIMATE

    def config(self) -> dict[str, Any]:
        return {"method": "log-normal", **asdict(self)}


@dataclass(frozen=True)
class AsScored:
    """For detectors whose scores are surprise already; pixels: how many those were made from."""

    pixels: int

    def surprise(self, score: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(np.minimum(score, CEILING), dtype=np.float32)

    @property
    def basis(self) -> str:
        return ESTIMATE

    def config(self) -> dict[str, Any]:
        return {"method": "as-scored", **asdict(self)}


Estimate = LogNormal | AsScored


@dataclass(frozen=True)
class Conformal:
    """What the estimate of surprise is worth at this place.

    estimate: of the pair that is scored; every earlier pair was compared by its own, so
        that the scales of the pairs do not matter.
    expected, found: rising; where the estimate says one, the history shows the other.
    slope: found per expected beyond the last; an extrapolation.
    pairs, blocks, pixels: that were counted; effective: how many independent pixels one
        pair is worth. shares: of each pair's pixels, above a surprise of 2 by this.
    """

    estimate: Estimate
    expected: tuple[float, ...]
    found: tuple[float, ...]
    slope: float
    pairs: int
    blocks: int
    pixels: int
    effective: float
    shares: tuple[float, ...]

    def surprise(self, score: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.corrected(self.estimate.surprise(score))

    def corrected(self, estimate: NDArray[np.float32]) -> NDArray[np.float32]:
        """What a surprise by the estimate of any pair of the place is worth."""
        counted = np.interp(estimate, self.expected, self.found)
        beyond = self.slope * np.maximum(estimate.astype(np.float64) - self.expected[-1], 0)
        return np.asarray(np.minimum(counted + beyond, CEILING), dtype=np.float32)

    @property
    def resolved(self) -> float:
        """Surprise up to which it was counted; beyond, it is extrapolated."""
        return self.found[-1]

    @property
    def basis(self) -> str:
        return f"calibrated on the history of the place ({self.pairs} pairs)"

    def config(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "method": "conformal",
            "estimate": self.estimate.config(),
            "extrapolated_beyond": self.resolved,
        }


def restore(config: Mapping[str, Any]) -> Calibration:
    """The inverse of `Calibration.config`."""
    if config["method"] != "conformal":
        return _restore_estimate(config)
    values = {name: value for name, value in config.items() if name in Conformal.__annotations__}
    rows = {name: tuple(values[name]) for name in ("expected", "found", "shares")}
    return Conformal(**{**values, **rows, "estimate": _restore_estimate(config["estimate"])})


def _restore_estimate(config: Mapping[str, Any]) -> Estimate:
    values = dict(config)
    kinds: dict[str, type[LogNormal] | type[AsScored]] = {
        "log-normal": LogNormal,
        "as-scored": AsScored,
    }
    return kinds[values.pop("method")](**values)


def calibrate(scores: NDArray[np.float32]) -> LogNormal:
    """Calibrate on scores of sampled pixels, (pixels,), mostly normal."""
    logs = np.log(np.maximum(scores[np.isfinite(scores)].astype(np.float64), _TINY))
    low, median = np.quantile(logs, (0.1587, 0.5))
    # A scene of one colour scores alike everywhere: any spread then keeps it ordinary.
    return LogNormal(float(median), max(float(median - low), 1e-3), int(logs.size))


@dataclass(frozen=True)
class Earlier:
    """An earlier pair of the place: surprise by its own estimate, and the block of each pixel.

    surprise, block (pixels,).
    """

    surprise: NDArray[np.float32]
    block: NDArray[np.intp]


def conformal(estimate: Estimate, history: Sequence[Earlier]) -> Conformal:
    """Count how often the pairs of a history score as high as the estimate says.

    All blocks of a pair weigh alike, and at every share the median of the pairs holds: an
    event between two earlier dates must not hide all that come after it. The p-value has
    the finite-sample correction for as many scores as are independent in one pair.
    """
    pairs = [_Falling.of(each) for each in history]
    effective = float(np.median([each.effective for each in pairs]))
    share = np.geomspace(1.0, min(RESOLVED / effective, 0.5), KNOTS)
    heights = np.median([each.height_of(share) for each in pairs], axis=0)
    # Of shares with one height the largest counts, which comes first.
    expected, first = np.unique(heights, return_index=True)
    found = -np.log10((share[first] * effective + 1) / (effective + 1))
    if expected[0] > 0:
        expected, found = np.append(0.0, expected), np.append(0.0, found)
    made = Conformal(
        estimate,
        tuple(expected.tolist()),
        tuple(found.tolist()),
        _slope(expected, found),
        pairs=len(history),
        blocks=sum(each.blocks for each in pairs),
        pixels=sum(len(each.height) for each in pairs),
        effective=round(effective, 1),
        shares=(),
    )
    above_two = (float((made.corrected(each.surprise) >= 2).mean()) for each in history)
    return replace(made, shares=tuple(round(share, 5) for share in above_two))


@dataclass(frozen=True)
class _Falling:
    """The scores of a pair from high to low, and the share of pixels that score as high.

    effective: how many independent pixels they are worth.
    """

    height: NDArray[np.float64]
    share: NDArray[np.float64]
    blocks: int
    effective: float

    @classmethod
    def of(cls, pair: Earlier) -> _Falling:
        pixels = np.bincount(pair.block)
        full = pixels >= MIN_FILLED * min(BLOCK**2, pixels.max())
        kept = full[pair.block]
        height, block = pair.surprise[kept].astype(np.float64), pair.block[kept]
        weight = 1 / pixels[block] / full.sum()
        falling = np.argsort(-height, kind="stable")
        height, share = height[falling], np.cumsum(weight[falling])
        bound = height[min(int(np.searchsorted(share, TAIL)), len(share) - 1)]
        count = int(np.searchsorted(-height, -bound, side="right"))
        above = np.bincount(block[falling[:count]], minlength=len(pixels))[full] / pixels[full]
        return cls(height, share, int(full.sum()), _effective(above, len(height)))

    def height_of(self, share: NDArray[np.float64]) -> NDArray[np.float64]:
        """The greatest height that at least that share of the pixels reaches."""
        rank = np.searchsorted(self.share, share - _TINY)
        return self.height[np.minimum(rank, len(self.height) - 1)]


def _effective(shares: NDArray[np.float64], pixels: int) -> float:
    """Independent pixels whose shares would scatter from block to block as these do.

    The design effect of cluster samples (Kish 1965); at least one a block.
    """
    mean, scatter = shares.mean(), shares.var(ddof=1) if len(shares) > 1 else np.inf
    worth = len(shares) * mean * (1 - mean) / max(scatter, _TINY)
    return float(np.clip(worth, len(shares), pixels))


def _slope(expected: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    """Over the last decade that was counted; never a tail lighter than the estimate's."""
    last = found >= found[-1] - 1
    if np.ptp(expected[last]) < _TINY:
        return 1.0
    return float(np.clip(np.polyfit(expected[last], found[last], 1)[0], 0.1, 1.0))


def blocks_of(sample: Sample) -> NDArray[np.intp]:
    """The block that each core pixel lies in, (pixels,), in the order of `sample_scores`."""
    window, row, col = sample.core.nonzero()
    place = np.stack([window, (row - sample.halo) // BLOCK, (col - sample.halo) // BLOCK])
    return np.unique(place, axis=1, return_inverse=True)[1].reshape(-1)


def sample_scores(detector: Any, sample: Sample) -> NDArray[np.float32]:
    """Scores of a sample's core pixels, (pixels,), window by window as in detection."""
    scores = []
    for number in range(len(sample.core)):
        window = tuple(batch.window(number) for batch in sample.batches)
        scores.append(detector.score(window)[0][sample.core[number]])
    return np.concatenate(scores)
