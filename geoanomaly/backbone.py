"""The linear no-change relation between two dates, fitted so that change does not bend it.

Iteratively reweighted regression: each pixel weighs as much as it is believed to
be unchanged, which is the chi-square survival of its Mahalanobis residual (the
weighting of IR-MAD: Nielsen 2007, IEEE TIP 16(2)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.special import chdtrc, chdtri, gammaln

Matrix = NDArray[np.float64]
ROUNDS = 20
MAX_PIXELS = 100_000
RIDGE = 1e-6
MIN_WEIGHT = 1e-9


@dataclass(frozen=True)
class Relation:
    """target ~ source @ slope + intercept; `whiten` makes the no-change residual's covariance one.

    slope (source, target), intercept (target,), whiten (target, target).
    """

    slope: Matrix
    intercept: Matrix
    whiten: Matrix

    def residual(self, source: Matrix, target: Matrix) -> Matrix:
        """Whitened residual, (pixels, target)."""
        return np.asarray((target - source @ self.slope - self.intercept) @ self.whiten)


def fit_relation(source: Matrix, target: Matrix, weight: Matrix) -> Relation:
    """Weighted least squares; source (pixels, a), target (pixels, b), weight (pixels,)."""
    total = weight.sum()
    source_mean, target_mean = weight @ source / total, weight @ target / total
    centred, wanted = source - source_mean, target - target_mean
    weighted = centred * weight[:, None]
    gram = weighted.T @ centred / total
    gram[np.diag_indices_from(gram)] += RIDGE * max(np.trace(gram) / len(gram), 1e-12)
    slope = np.linalg.solve(gram, weighted.T @ wanted / total)
    residual = wanted - centred @ slope
    return Relation(slope, target_mean - source_mean @ slope, whitener(residual, weight))


def whitener(residual: Matrix, weight: Matrix) -> Matrix:
    """W with (residual @ W) of weighted unit covariance, (b, b)."""
    covariance = (residual * weight[:, None]).T @ residual / weight.sum()
    covariance = np.atleast_2d(covariance)
    floor = max(np.trace(covariance) / len(covariance), 1e-12)
    covariance[np.diag_indices_from(covariance)] += RIDGE * floor
    return np.asarray(np.linalg.inv(np.linalg.cholesky(covariance)).T)


def energy(whitened: Matrix) -> Matrix:
    """Mahalanobis energy of whitened residuals, (pixels, b) -> (pixels,)."""
    return np.asarray(np.einsum("pb,pb->p", whitened, whitened))


def no_change_weight(energies: Matrix, bands: int) -> Matrix:
    """Belief in no change, (pixels,) in [0, 1]: chi-square survival of consistent energies."""
    return np.asarray(chdtrc(bands, energies * consistency(bands)))


@cache
def consistency(bands: int) -> float:
    """How much smaller the weighted variance of normal pixels is than their variance.

    Weighting by survival favours small residuals, so the covariance it gives is too
    small, also where nothing has changed. Uncorrected, each round trusts fewer
    pixels than the last, down to one in a hundred with one band.
    """
    half, top = bands / 2, chdtri(bands, 1e-12)

    def weighted(energy: float) -> float:
        log_density = (half - 1) * np.log(energy / 2) - energy / 2 - gammaln(half) - np.log(2)
        return float(chdtrc(bands, energy) * np.exp(log_density))

    total = quad(weighted, 0, top, limit=200)[0]
    return float(quad(lambda t: t * weighted(t), 0, top, limit=200)[0] / total / bands)


@dataclass(frozen=True)
class Backbone:
    """Both directions of the relation and the weight of the pixels it was fitted on, (pixels,)."""

    forward: Relation
    backward: Relation
    weight: Matrix


def fit_backbone(before: Matrix, after: Matrix) -> Backbone:
    """Fit both directions by `ROUNDS` rounds; before (pixels, a), after (pixels, b).

    They share one weight: a pixel has changed or not, whichever way one looks.
    """
    weight = np.ones(len(before))
    for _ in range(ROUNDS):
        backbone = _fit_both(before, after, weight)
        weight = shared_weight(
            [
                energy(backbone.forward.residual(before, after)),
                energy(backbone.backward.residual(after, before)),
            ],
            (after.shape[1], before.shape[1]),
        )
    return _fit_both(before, after, weight)


def fit_forward(source: Matrix, target: Matrix) -> Relation:
    """Fit one direction alone by `ROUNDS` rounds; source (pixels, a), target (pixels, b)."""
    weight = np.ones(len(source))
    for _ in range(ROUNDS):
        left = fit_relation(source, target, weight).residual(source, target)
        weight = shared_weight([energy(left)], (target.shape[1],))
    return fit_relation(source, target, weight)


def shared_weight(energies: Sequence[Matrix], bands: Sequence[int]) -> Matrix:
    """Belief in no change from the energies of all directions: their survivals' geometric mean.

    bands: of the target of each direction.
    """
    beliefs = [no_change_weight(*each) for each in zip(energies, bands, strict=True)]
    return np.asarray(np.maximum(np.prod(beliefs, axis=0) ** (1 / len(beliefs)), MIN_WEIGHT))


def _fit_both(before: Matrix, after: Matrix, weight: Matrix) -> Backbone:
    return Backbone(
        fit_relation(before, after, weight), fit_relation(after, before, weight), weight
    )
