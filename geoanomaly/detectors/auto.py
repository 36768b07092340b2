"""The default: for two dates views of change, for one scene models of its ground."""

from __future__ import annotations

from geoanomaly.detectors.base import Detector, DetectorFamily, FitOptions, State
from geoanomaly.detectors.fused import FUSED
from geoanomaly.detectors.fused_change import FUSED_CHANGE
from geoanomaly.scenes.sampling import Sample
from geoanomaly.types import Setting


class AutoFamily:
    def halo(self, setting: Setting) -> int:
        return _family(len(setting.sensors)).halo(setting)

    def fit(self, sample: Sample, options: FitOptions) -> Detector:
        return _family(len(sample.batches)).fit(sample, options)

    def restore(self, state: State) -> Detector:
        # Only a pair has two dates to normalise.
        return _family(2 if "before" in state.config else 1).restore(state)


AUTO = AutoFamily()


def _family(scenes: int) -> DetectorFamily:
    return FUSED_CHANGE if scenes == 2 else FUSED
