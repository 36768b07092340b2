"""The default: chooses by the process, and within it by the scenes."""

from __future__ import annotations

from geoanomaly.detectors.base import Detector, FitOptions, State
from geoanomaly.detectors.fused_change import FUSED_CHANGE
from geoanomaly.sampling import Sample
from geoanomaly.types import Setting


class AutoFamily:
    def halo(self, setting: Setting) -> int:
        return FUSED_CHANGE.halo(setting)

    def fit(self, sample: Sample, options: FitOptions) -> Detector:
        return FUSED_CHANGE.fit(sample, options)

    def restore(self, state: State) -> Detector:
        return FUSED_CHANGE.restore(state)


AUTO = AutoFamily()
