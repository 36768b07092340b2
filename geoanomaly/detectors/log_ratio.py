"""The log-ratio of two dates: how many times brighter or darker, the classic for SAR.

Speckle multiplies, so it adds to the logarithm and is alike on bright and dark ground
(Bovolo and Bruzzone 2005, IEEE TGRS 43(12)). A factor that both dates share cancels.
Nothing else is normalised: a change that covers much of the scene would be taken for
the sensor's. Both dates must therefore be calibrated alike.
"""

from __future__ import annotations

from dataclasses import replace

from geoanomaly.detectors.base import FitOptions, State
from geoanomaly.detectors.change import HALO, ChangeDetector, restore_change
from geoanomaly.detectors.dates import Dates, fit_dates
from geoanomaly.detectors.difference import log_ratio_view
from geoanomaly.scenes.sampling import Sample
from geoanomaly.types import Setting


class LogRatioFamily:
    """Mean over bands of |log after - log before| (of mean logarithms, where counts differ).

    Where either date has negative values, both are taken for logarithms already (decibel)
    and subtracted as they are. Values under the noise floor (zeros, mostly) are raised to
    it, to the same one at both dates.
    """

    def halo(self, setting: Setting) -> int:
        return HALO

    def fit(self, sample: Sample, options: FitOptions) -> ChangeDetector:
        dates = common_logarithm(fit_dates(sample, (True, True)))
        return ChangeDetector(dates, log_ratio_view(dates))

    def restore(self, state: State) -> ChangeDetector:
        return restore_change(state)


LOG_RATIO = LogRatioFamily()


def common_logarithm(dates: Dates) -> Dates:
    """Both dates logarithms or neither, with one noise floor."""
    log = dates.before.log and dates.after.log
    floor = min(dates.before.floor, dates.after.floor)
    return Dates(
        replace(dates.before, log=log, floor=floor), replace(dates.after, log=log, floor=floor)
    )
