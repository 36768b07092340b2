"""Change that normal change does not explain: a linear relation, corrected by a conditional VAE."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from geoanomaly import context
from geoanomaly.backbone import MAX_PIXELS, fit_backbone
from geoanomaly.detectors.base import FitOptions, State
from geoanomaly.detectors.change_fit import correct, gather
from geoanomaly.detectors.direction import (
    Direction,
    direction_state,
    linear_direction,
    restore_direction,
)
from geoanomaly.normalise import Normaliser, fit_normaliser
from geoanomaly.sampling import Sample
from geoanomaly.types import Setting
from tiling.types import TileBatch

SMOOTHING = 1.5
"""Gaussian sigma in pixels on the root of the energy: neighbours change together."""


@dataclass(frozen=True)
class ChangeDetector:
    """Root mean energy of both directions, smoothed over valid neighbours."""

    before: Normaliser
    after: Normaliser
    forward: Direction
    backward: Direction

    @property
    def halo(self) -> int:
        return _halo(network=self.forward.network is not None)

    @torch.inference_mode()
    def score(self, batches: tuple[TileBatch, ...]) -> NDArray[np.float32]:
        device = self.forward.slope.device
        valid = torch.from_numpy(batches[0].valid & batches[1].valid).to(device)
        before, after = (
            normalise(torch.from_numpy(batch.data).to(device)) * valid[:, None]
            for normalise, batch in zip((self.before, self.after), batches, strict=True)
        )
        forward = self.forward.energy(before, after, valid)
        backward = self.backward.energy(after, before, valid)
        energies = (forward + backward) / 2
        root = energies.sqrt().view(valid.shape)[:, None]
        smooth = context.blur(root, valid, SMOOTHING)[:, 0]
        return np.asarray(smooth.masked_fill(~valid, torch.nan).cpu().numpy())

    def to(self, device: torch.device) -> ChangeDetector:
        return ChangeDetector(
            self.before.to(device),
            self.after.to(device),
            self.forward.to(device),
            self.backward.to(device),
        )

    def state(self) -> State:
        forward = direction_state(self.forward, "forward")
        backward = direction_state(self.backward, "backward")
        normalisers = {"before": self.before.config(), "after": self.after.config()}
        return State(
            {**normalisers, **forward.config, **backward.config},
            {**forward.tensors, **backward.tensors},
        )


def _restore(state: State) -> ChangeDetector:
    return ChangeDetector(
        Normaliser.from_config(state.config["before"]),
        Normaliser.from_config(state.config["after"]),
        restore_direction(state, "forward"),
        restore_direction(state, "backward"),
    )


@dataclass(frozen=True)
class ChangeFamily:
    """Fits change detectors, with the network or without."""

    network: bool

    def halo(self, setting: Setting) -> int:
        return _halo(network=self.network)

    def fit(self, sample: Sample, options: FitOptions) -> ChangeDetector:
        """Linear relation, then the network in two rounds, each weighted by the last residual.

        At most 60 s on two cores whatever the scene's size: the sample is bounded.
        """
        before = fit_normaliser(sample, 0, log=options.setting.log[0])
        after = fit_normaliser(sample, 1, log=options.setting.log[1])
        pixels = gather(sample, (before, after), options.seed, features=self.network)
        chosen = slice(0, MAX_PIXELS)  # the order is random already
        backbone = fit_backbone(
            pixels.before[chosen].double().numpy(), pixels.after[chosen].double().numpy()
        )
        forward, backward = linear_direction(backbone.forward), linear_direction(backbone.backward)
        if self.network:
            forward, backward = correct(backbone, pixels, options)
        return ChangeDetector(before, after, forward, backward)

    def restore(self, state: State) -> ChangeDetector:
        return _restore(state)


CVAE = ChangeFamily(network=True)
RWR = ChangeFamily(network=False)


def _halo(*, network: bool) -> int:
    return context.radius(SMOOTHING) + (context.RADIUS if network else 0)
