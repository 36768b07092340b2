"""Iteratively reweighted multivariate alteration detection (Nielsen 2007, IEEE TIP 16(2)).

Canonical correlation pairs the combinations of bands that follow each other best from
date to date. Their differences, the MAD variates, are uncorrelated, so the sum of their
squares over their no-change variances is chi-square distributed where nothing changed;
its survival is each pixel's weight in the next round. Linear maps of the bands at either
date change nothing. Band counts may differ: there are as many pairs as the fewer bands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import chdtrc

from geoanomaly.backbone import MAX_PIXELS, MIN_WEIGHT, Matrix, energy, whitener
from geoanomaly.detectors.base import FitOptions, State
from geoanomaly.detectors.change import HALO, ChangeDetector, restore_change
from geoanomaly.detectors.dates import fit_dates
from geoanomaly.detectors.difference import mixed_difference
from geoanomaly.normalise import Normaliser
from geoanomaly.scenes.sampling import Pick, Sample, pick
from geoanomaly.types import Setting

ROUNDS = 50
TOLERANCE = 1e-4
"""The rounds end when no canonical correlation moves by more."""

MAX_VALUES = 4_000_000
"""Pixels times bands that are fitted: many bands make do with fewer pixels."""

MIN_VARIANCE = 1e-6
"""Of a MAD variate; two dates that are equal have none."""


@dataclass(frozen=True)
class Alteration:
    """MAD variates of unit no-change variance: before @ a - after @ b - offset.

    a (before bands, k), b (after bands, k), offset (k,); correlation (k,): canonical, falling.
    """

    a: Matrix
    b: Matrix
    offset: Matrix
    correlation: Matrix

    def variates(self, before: Matrix, after: Matrix) -> Matrix:
        """(pixels, k)."""
        return np.asarray(before @ self.a - after @ self.b - self.offset)


def fit_alteration(before: Matrix, after: Matrix) -> Alteration:
    """Reweight until the canonical correlations stand still; (pixels, band) each."""
    alteration = _fit_weighted(before, after, np.ones(len(before)))
    for _ in range(ROUNDS):
        last = alteration
        energies = energy(last.variates(before, after))
        weight = np.maximum(chdtrc(len(last.correlation), energies), MIN_WEIGHT)
        alteration = _fit_weighted(before, after, weight)
        if np.abs(alteration.correlation - last.correlation).max() < TOLERANCE:
            break
    return alteration


def _fit_weighted(before: Matrix, after: Matrix, weight: Matrix) -> Alteration:
    """Canonical correlation analysis, each pixel counted `weight` times."""
    total = weight.sum()
    before_mean, after_mean = weight @ before / total, weight @ after / total
    x, y = before - before_mean, after - after_mean
    whiten_x, whiten_y = whitener(x, weight), whitener(y, weight)
    covariance = (x * weight[:, None]).T @ y / total
    left, correlation, right = np.linalg.svd(
        whiten_x.T @ covariance @ whiten_y, full_matrices=False
    )
    # The difference of two variates of unit variance that correlate by rho has 2 (1 - rho).
    deviation = np.sqrt(np.maximum(2 * (1 - correlation), MIN_VARIANCE))
    a, b = whiten_x @ left / deviation, whiten_y @ right.T / deviation
    return Alteration(a, b, before_mean @ a - after_mean @ b, correlation)


class IrmadFamily:
    """Root mean square of the standardised MAD variates, fitted on the sample."""

    def halo(self, setting: Setting) -> int:
        return HALO

    def fit(self, sample: Sample, options: FitOptions) -> ChangeDetector:
        dates = fit_dates(sample, options.setting.log)
        bands = sum(batch.data.shape[1] for batch in sample.batches)
        limit = min(MAX_PIXELS, MAX_VALUES // bands)
        picked = pick(sample, limit, np.random.default_rng(options.seed))
        found = fit_alteration(
            _pixels(sample, 0, dates.before, picked), _pixels(sample, 1, dates.after, picked)
        )
        return ChangeDetector(dates, mixed_difference(found.a, found.b, found.offset, order=2))

    def restore(self, state: State) -> ChangeDetector:
        return restore_change(state)


IRMAD = IrmadFamily()


def _pixels(sample: Sample, date: int, normalise: Normaliser, picked: Pick) -> Matrix:
    """Normalised bands of the picked pixels of one date, (pixels, band), window by window."""
    rows: list[NDArray[np.float32]] = [
        window.reshape(len(window), -1)[:, positions]
        for window, positions in zip(sample.batches[date].data, picked.windows, strict=True)
    ]
    columns = np.concatenate(rows, axis=1)
    normal = normalise(torch.from_numpy(columns)[None, :, :, None])[0, :, :, 0]
    return np.asarray(normal.T.double().numpy())
