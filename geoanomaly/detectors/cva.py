"""Change vector analysis on bands that have zero mean and unit deviation at each date.

Malila 1980, LARS Symposia 385. The z-score takes away what a gain and an offset a
band explain, and nothing else.
"""

from __future__ import annotations

from geoanomaly.detectors.base import FitOptions, State
from geoanomaly.detectors.change import HALO, ChangeDetector, restore_change
from geoanomaly.detectors.dates import fit_dates
from geoanomaly.detectors.difference import band_difference
from geoanomaly.scenes.sampling import Sample
from geoanomaly.types import Setting


class CvaFamily:
    """Root mean square difference of z-scored bands (of their mean, where counts differ)."""

    def halo(self, setting: Setting) -> int:
        return HALO

    def fit(self, sample: Sample, options: FitOptions) -> ChangeDetector:
        dates = fit_dates(sample, options.setting.log)
        return ChangeDetector(dates, band_difference(dates))

    def restore(self, state: State) -> ChangeDetector:
        return restore_change(state)


CVA = CvaFamily()
