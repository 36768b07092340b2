"""Ways of comparing two dates: each sees change from its own side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Self

import torch
from torch import Tensor

from geoanomaly import context
from geoanomaly.detectors.base import State


class View(Protocol):
    """A fitted comparison of two normalised dates, before any smoothing."""

    @property
    def reach(self) -> int:
        """Pixels around a pixel that its energy depends on."""
        ...

    def energy(self, before: Tensor, after: Tensor, valid: Tensor) -> Tensor:
        """How unlike no change: mean square in units of no-change deviations.

        before, after (n, band, y, x), 0 where not valid; valid bool (n, y, x) -> (n, y, x).
        """
        ...

    def to(self, device: torch.device) -> Self: ...

    def state(self) -> State:
        """Its config has "view", the name under which `restore_view` knows it."""
        ...


def restore_view(state: State) -> View:
    """The inverse of `View.state`."""
    from geoanomaly.detectors import difference, features, prediction

    restore: dict[str, Callable[[State], View]] = {
        "difference": difference.restore,
        "features": features.restore,
        "prediction": prediction.restore,
    }
    return restore[state.config["view"]](state)


def smoothed(energy: Tensor, valid: Tensor, sigma: float, margin: int = 0) -> Tensor:
    """Root of the energy, averaged over valid neighbours, (n, y, x), less `margin` a side."""
    return context.blur(energy.sqrt()[:, None], valid, sigma, margin)[:, 0]
