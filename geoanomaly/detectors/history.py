"""The forecast: what the earlier dates of a place do not foretell of the last.

Of many dates, what comes and goes with the seasons can be foretold, and a pixel that was
shaded or hazy once is seen on others. The linear relation takes all bands of all earlier
dates; the network corrects the image that it foretells, by what surrounds each pixel in
it. Forward only: the last date alone does not tell the past of many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoanomaly import context
from geoanomaly.backbone import MAX_PIXELS, fit_forward
from geoanomaly.detectors.base import FitOptions, State
from geoanomaly.detectors.change import HALO, SMOOTHING
from geoanomaly.detectors.change_fit import correct_forward, gather
from geoanomaly.detectors.dates import Dates, fit_dates
from geoanomaly.detectors.direction import (
    Direction,
    direction_state,
    linear_direction,
    restore_direction,
)
from geoanomaly.detectors.evidence import windows
from geoanomaly.detectors.views import smoothed
from geoanomaly.normalise import Normaliser
from geoanomaly.scenes.sampling import Sample
from geoanomaly.types import Setting
from tiling.types import TileBatch


@dataclass(frozen=True)
class Forecast:
    """Root energy of what is not foretold, smoothed over valid neighbours.

    dates: of the stack of earlier dates and of the last; relation: from that stack to the
        image that is expected; correction: from there to the last date.
    """

    dates: Dates
    relation: Direction
    correction: Direction

    calibrated: ClassVar[bool] = False

    @property
    def halo(self) -> int:
        return context.RADIUS + HALO

    @torch.inference_mode()
    def score(self, batches: tuple[TileBatch, ...]) -> NDArray[np.float32]:
        earlier, last, valid = self.dates(batches)
        expected = _expected(self.relation, earlier) * valid[:, None]
        energy = self.correction.energy(expected, last, valid)
        size = smoothed(energy, valid, SMOOTHING)
        return np.asarray(size.masked_fill(~valid, torch.nan).cpu().numpy())

    def to(self, device: torch.device) -> Forecast:
        return Forecast(self.dates.to(device), self.relation.to(device), self.correction.to(device))

    def state(self) -> State:
        relation = direction_state(self.relation, "relation")
        correction = direction_state(self.correction, "correction")
        return State(
            {**self.dates.config(), **correction.config},
            {**relation.tensors, **correction.tensors},
        )


def _expected(relation: Direction, earlier: Tensor) -> Tensor:
    """(n, dates times bands, y, x) -> (n, band, y, x)."""
    foretold = torch.einsum("nbyx,bk->nkyx", earlier, relation.slope)
    return foretold + relation.intercept.view(1, -1, 1, 1)


class HistoryFamily:
    """Fits forecasts; the first scene is the stack of all earlier dates, the second the last."""

    def halo(self, setting: Setting) -> int:
        return context.RADIUS + HALO

    def fit(self, sample: Sample, options: FitOptions) -> Forecast:
        """At most 60 s on two cores whatever the scene's size: the sample is bounded."""
        dates = fit_dates(sample, options.setting.log)
        pixels = gather(sample, (dates.before, dates.after), options.seed, features=False)
        chosen = slice(0, MAX_PIXELS)  # the order is random already
        stack, last = (each[chosen].double().numpy() for each in (pixels.before, pixels.after))
        relation = linear_direction(fit_forward(stack, last))
        foretold = _foretold(relation, sample, dates)
        as_it_is = _unchanged(last.shape[1])
        pixels = gather(foretold, (as_it_is, as_it_is), options.seed, features=True)
        expected, last = (each[chosen].double().numpy() for each in (pixels.before, pixels.after))
        correction = correct_forward(fit_forward(expected, last), pixels, options)
        return Forecast(dates, relation, correction)

    def restore(self, state: State) -> Forecast:
        return Forecast(
            Dates.from_config(state.config),
            restore_direction(state, "relation"),
            restore_direction(state, "correction"),
        )


HISTORY = HistoryFamily()


@torch.inference_mode()
def _foretold(relation: Direction, sample: Sample, dates: Dates) -> Sample:
    """The sample as a pair of normalised dates: the one that is expected, and the last."""
    pairs = [
        ((_expected(relation, earlier) * valid[:, None]).numpy(), last.numpy(), valid.numpy())
        for earlier, last, valid in windows(sample, dates)
    ]
    expected, last, valid = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return Sample((TileBatch(expected, valid), TileBatch(last, valid)), sample.core, sample.halo)


def _unchanged(bands: int) -> Normaliser:
    """For what is normalised already."""
    return Normaliser(torch.zeros(bands), torch.ones(bands))
