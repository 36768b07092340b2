"""Mahalanobis distance of a spectrum from the scene's mean (Reed and Yu 1990, IEEE TASSP 38(10)).

Mean and covariance without the strangest pixels, which would make themselves normal.
"""

from __future__ import annotations

import numpy as np

from geoanomaly.detectors.base import FitOptions, State
from geoanomaly.detectors.linear import LinearDetector, restore_linear
from geoanomaly.detectors.pixels import MAX_SPECTRA, fit_description, gather, to_tensor
from geoanomaly.detectors.robust import normal_whitener
from geoanomaly.scenes.sampling import Sample
from geoanomaly.types import Setting


class RxFamily:
    def halo(self, setting: Setting) -> int:
        return 0

    def fit(self, sample: Sample, options: FitOptions) -> LinearDetector:
        description = fit_description(sample, options.setting, contextual=False)
        pixels = gather(sample, description, options.seed)[:MAX_SPECTRA].double().numpy()
        centre, whiten = normal_whitener(pixels, np.ones(len(pixels), dtype=bool), rounds=2)
        return LinearDetector(description, to_tensor(centre), to_tensor(whiten))

    def restore(self, state: State) -> LinearDetector:
        return restore_linear(state)


RX = RxFamily()
