"""Mahalanobis distance of a spectrum from those in a ring around it (dual-window local RX).

Kwon and Nasrabadi 2005, IEEE TGRS 43(2). A ring holds fewer pixels than an imaging
spectrometer has bands, so it works on the scene's principal components, and each ring's
covariance leans on that of the scene.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoanomaly.detectors.base import FitOptions, State
from geoanomaly.detectors.pixels import PixelSpace, fit_space, restore_space
from geoanomaly.detectors.rows import image, rows
from geoanomaly.scenes.rings import Ring, ring_mean
from geoanomaly.scenes.sampling import Sample
from geoanomaly.types import Setting
from tiling.types import TileBatch

COMPONENTS = 10
RING = Ring(2, 8)
"""Windows of 5 and 17 pixels, as usual for objects of a few pixels."""

SHRINKAGE = 0.1
"""Of the scene's covariance, which is one here, that is added to a ring's."""

STRIP = 64
"""Rows that are worked on at once: a covariance for every pixel takes memory."""


@dataclass(frozen=True)
class LocalRxDetector:
    """Root mean energy of a pixel in the ring's statistics."""

    space: PixelSpace

    calibrated: ClassVar[bool] = False

    @property
    def halo(self) -> int:
        return self.space.reach + RING.outer

    @torch.inference_mode()
    def score(self, batches: tuple[TileBatch, ...]) -> NDArray[np.float32]:
        pixels, valid = self.space(batches[0])
        shown = image(pixels, valid)
        height = shown.shape[2]
        strips = []
        for top in range(0, height, STRIP):
            first, last = max(top - RING.outer, 0), min(top + STRIP + RING.outer, height)
            root = _distance(shown[:, :, first:last], valid[:, first:last])
            strips.append(root[:, top - first : top - first + STRIP])
        root = torch.cat(strips, dim=1)
        return np.asarray(root.masked_fill(~valid, torch.nan).cpu().numpy())

    def to(self, device: torch.device) -> LocalRxDetector:
        return LocalRxDetector(self.space.to(device))

    def state(self) -> State:
        return self.space.state()


def _distance(shown: Tensor, valid: Tensor) -> Tensor:
    """(n, c, y, x) -> (n, y, x)."""
    components = shown.shape[1]
    upper = torch.triu_indices(components, components, device=shown.device)
    products = shown[:, upper[0]] * shown[:, upper[1]]
    mean = ring_mean(shown, valid, RING)
    spread = ring_mean(products, valid, RING) - mean[:, upper[0]] * mean[:, upper[1]]
    covariance = torch.empty(
        valid.numel(), components, components, dtype=shown.dtype, device=shown.device
    )
    covariance[:, upper[0], upper[1]] = rows(spread)
    covariance[:, upper[1], upper[0]] = rows(spread)
    covariance.diagonal(dim1=1, dim2=2).add_(SHRINKAGE)
    apart = rows(shown - mean)[..., None]
    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), apart, upper=False)
    root = whitened[..., 0].square().mean(-1).sqrt()
    return torch.as_tensor(root.view(valid.shape))


class LocalRxFamily:
    def halo(self, setting: Setting) -> int:
        return RING.outer

    def fit(self, sample: Sample, options: FitOptions) -> LocalRxDetector:
        space, _ = fit_space(
            sample, options.setting, options.seed, components=COMPONENTS, contextual=False
        )
        return LocalRxDetector(space)

    def restore(self, state: State) -> LocalRxDetector:
        return LocalRxDetector(restore_space(state))


LOCAL_RX = LocalRxFamily()
