"""A view with its scale and its calibration: surprise that can be added to that of other views."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoanomaly import context
from geoanomaly.calibration import LogNormal, calibrate
from geoanomaly.detectors.base import State
from geoanomaly.detectors.dates import Dates
from geoanomaly.detectors.views import View, restore_view, smoothed
from geoanomaly.scenes.sampling import Sample

Window = tuple[Tensor, Tensor, Tensor]
"""Normalised before, after (1, band, y, x) and valid (1, y, x) of a sample window."""

ORDER = 0.5
"""Of the power mean that fuses: below one, so that no view alone can shout."""


@dataclass(frozen=True)
class Evidence:
    """smoothing: Gaussian sigma in pixels on the root of the energy; weight: in the fusion."""

    view: View
    smoothing: float
    weight: float
    calibration: LogNormal

    @property
    def halo(self) -> int:
        return self.view.reach + context.radius(self.smoothing)

    def surprise(
        self, before: Tensor, after: Tensor, valid: Tensor, margin: int
    ) -> NDArray[np.float32]:
        """Of the pixels at least `margin` from the edges, (n, y, x); of no meaning where not
        valid."""
        energy = self.view.energy(before, after, valid)
        size = smoothed(energy, valid, self.smoothing, margin)
        return self.calibration.surprise(size.cpu().numpy())

    def to(self, device: torch.device) -> Evidence:
        return replace(self, view=self.view.to(device))

    def state(self) -> State:
        view = self.view.state()
        config: dict[str, Any] = {
            "view": view.config,
            "smoothing": self.smoothing,
            "weight": self.weight,
            "calibration": asdict(self.calibration),
        }
        return State(config, view.tensors)


def restore_evidence(state: State) -> Evidence:
    config = state.config
    return Evidence(
        restore_view(State(config["view"], state.tensors)),
        config["smoothing"],
        config["weight"],
        LogNormal(**config["calibration"]),
    )


def fuse(
    evidence: tuple[Evidence, ...], surprise: list[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Weighted power mean, so that what all views find surprising comes first."""
    total = sum(each.weight for each in evidence)
    roots = [
        each.weight / total * shown**ORDER for each, shown in zip(evidence, surprise, strict=True)
    ]
    return np.asarray(sum(roots) ** (1 / ORDER), dtype=np.float32)


def windows(sample: Sample, dates: Dates) -> Iterator[Window]:
    """The sample window by window, to save memory."""
    for number in range(len(sample.core)):
        batches = tuple(batch.window(number) for batch in sample.batches)
        yield dates(batches)


@dataclass(frozen=True)
class Candidate:
    """A view that may become evidence. seen (pixels,): what it made of a sample's core pixels."""

    view: View
    smoothing: float
    seen: NDArray[np.float32]

    def evidence(self, weight: float = 1.0) -> Evidence:
        return Evidence(self.view, self.smoothing, weight, calibrate(self.seen))


@torch.inference_mode()
def candidate(view: View, smoothing: float, sample: Sample, dates: Dates) -> Candidate:
    """Look at a sample through a view."""
    seen = [
        smoothed(view.energy(*window), window[2], smoothing)[0].numpy()[core]
        for window, core in zip(windows(sample, dates), sample.core, strict=True)
    ]
    return Candidate(view, smoothing, np.concatenate(seen))
