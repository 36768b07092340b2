"""Change seen by one view: what the classical detectors, `rwr` and `cvae` have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from geoanomaly import context
from geoanomaly.backbone import MAX_PIXELS, fit_backbone
from geoanomaly.detectors.base import FitOptions, State, joined, part
from geoanomaly.detectors.change_fit import correct, gather
from geoanomaly.detectors.dates import Dates, fit_dates
from geoanomaly.detectors.direction import linear_direction
from geoanomaly.detectors.prediction import PredictionView
from geoanomaly.detectors.views import View, restore_view, smoothed
from geoanomaly.scenes.sampling import Sample
from geoanomaly.types import Setting
from tiling.types import TileBatch

SMOOTHING = 1.5
"""Gaussian sigma in pixels on the root of the energy, the same for all, so that they compare."""

HALO = context.radius(SMOOTHING)


@dataclass(frozen=True)
class ChangeDetector:
    """Root energy of a view, smoothed over valid neighbours."""

    dates: Dates
    view: View

    calibrated: ClassVar[bool] = False

    @property
    def halo(self) -> int:
        return self.view.reach + HALO

    @torch.inference_mode()
    def score(self, batches: tuple[TileBatch, ...]) -> NDArray[np.float32]:
        before, after, valid = self.dates(batches)
        size = smoothed(self.view.energy(before, after, valid), valid, SMOOTHING)
        return np.asarray(size.masked_fill(~valid, torch.nan).cpu().numpy())

    def to(self, device: torch.device) -> ChangeDetector:
        return ChangeDetector(self.dates.to(device), self.view.to(device))

    def state(self) -> State:
        return joined(self.dates.config(), {"view": self.view.state()})


def restore_change(state: State) -> ChangeDetector:
    """The inverse of `ChangeDetector.state`."""
    return ChangeDetector(Dates.from_config(state.config), restore_view(part(state, "view")))


def fit_prediction(
    sample: Sample, dates: Dates, options: FitOptions, *, network: bool
) -> PredictionView:
    """Linear relation, then the network in two rounds, each weighted by the last residual.

    At most 60 s on two cores whatever the scene's size: the sample is bounded.
    """
    pixels = gather(sample, (dates.before, dates.after), options.seed, features=network)
    chosen = slice(0, MAX_PIXELS)  # the order is random already
    backbone = fit_backbone(
        pixels.before[chosen].double().numpy(), pixels.after[chosen].double().numpy()
    )
    if network:
        return PredictionView(*correct(backbone, pixels, options))
    return PredictionView(linear_direction(backbone.forward), linear_direction(backbone.backward))


@dataclass(frozen=True)
class PredictionFamily:
    """Fits change detectors that predict, with the network or without."""

    network: bool

    def halo(self, setting: Setting) -> int:
        return HALO + (context.RADIUS if self.network else 0)

    def fit(self, sample: Sample, options: FitOptions) -> ChangeDetector:
        dates = fit_dates(sample, options.setting.log)
        return ChangeDetector(dates, fit_prediction(sample, dates, options, network=self.network))

    def restore(self, state: State) -> ChangeDetector:
        return restore_change(state)


CVAE = PredictionFamily(network=True)
RWR = PredictionFamily(network=False)
