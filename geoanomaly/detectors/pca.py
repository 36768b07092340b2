"""What the principal components of normal pixels do not explain: a linear autoencoder."""

from __future__ import annotations

import numpy as np

from geoanomaly import context
from geoanomaly.backbone import Matrix, energy
from geoanomaly.detectors.base import FitOptions, State
from geoanomaly.detectors.linear import LinearDetector, restore_linear
from geoanomaly.detectors.pixels import (
    FLAT,
    MAX_SPECTRA,
    fit_description,
    gather,
    needs_context,
    principal,
    to_tensor,
)
from geoanomaly.detectors.robust import ROUNDS, trim
from geoanomaly.scenes.sampling import Sample
from geoanomaly.types import Setting

COMPONENTS = 10


class PcaFamily:
    def halo(self, setting: Setting) -> int:
        return context.RADIUS if needs_context(setting) else 0

    def fit(self, sample: Sample, options: FitOptions) -> LinearDetector:
        contextual = needs_context(options.setting)
        description = fit_description(sample, options.setting, contextual=contextual)
        pixels = gather(sample, description, options.seed)[:MAX_SPECTRA].double().numpy()
        kept = np.ones(len(pixels), dtype=bool)
        for _ in range(ROUNDS):
            centre, unexplained = _unexplained(pixels[kept])
            kept = trim(energy((pixels - centre) @ unexplained), kept)
        centre, unexplained = _unexplained(pixels[kept])
        return LinearDetector(description, to_tensor(centre), to_tensor(unexplained))

    def restore(self, state: State) -> LinearDetector:
        return restore_linear(state)


def _unexplained(normal: Matrix) -> tuple[Matrix, Matrix]:
    """Centre (f,) and the map (f, f) to the residual, each feature by its normal deviation."""
    centre, axes, _ = principal(normal)
    # Half of the features at most: all components would explain everything.
    shown = axes[:, : min(COMPONENTS, len(axes) // 2)]
    residual = np.eye(len(axes)) - shown @ shown.T
    deviation = ((normal - centre) @ residual).std(axis=0)
    return centre, residual / np.maximum(deviation, FLAT)


PCA = PcaFamily()
