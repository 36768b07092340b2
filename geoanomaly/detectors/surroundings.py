"""What is not as its surroundings lead to expect: local RX, learnt.

A small network sees the mean and the deviation of a ring around a pixel, never the pixel
(a blind spot: Krull et al. 2019, arXiv:1811.10980), and says what spectrum it expects and how
surely. Over a whole scene it learns what belongs where, which no single ring can tell.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoanomaly import context
from geoanomaly.detectors.base import FitOptions, State, joined, load_network, network_tensors, part
from geoanomaly.detectors.pixels import (
    PixelSpace,
    fit_space,
    gather,
    image,
    needs_context,
    restore_space,
    rows,
)
from geoanomaly.detectors.robust import Kept, train_trimmed
from geoanomaly.networks import Expectation, ExpectationConfig, set_scaling
from geoanomaly.rings import Ring, ring_mean
from geoanomaly.sampling import Sample
from geoanomaly.types import Setting
from tiling.types import TileBatch

COMPONENTS = 10
FLAT = 1e-3
"""Smallest local variance that is told from none, in units of the scene's."""


@dataclass(frozen=True)
class Scenery:
    """A pixel's components and those of its surroundings, in one row."""

    space: PixelSpace

    @property
    def ring(self) -> Ring:
        return _ring(contextual=self.space.description.contextual)

    @property
    def reach(self) -> int:
        return self.space.reach + self.ring.outer

    def __call__(self, batch: TileBatch) -> tuple[Tensor, Tensor]:
        """(n y x, 3 components): around (mean, log deviation), then the pixel; valid (n, y, x)."""
        pixels, valid = self.space(batch)
        shown = image(pixels, valid)
        mean = ring_mean(shown, valid, self.ring)
        variance = ring_mean(shown**2, valid, self.ring) - mean**2
        deviation = 0.5 * variance.clamp_min(FLAT).log()
        return torch.cat([rows(mean), rows(deviation), pixels], dim=1), valid


@dataclass(frozen=True)
class SurroundingsDetector:
    """Misfit of a pixel to what its surroundings lead to expect."""

    scenery: Scenery
    network: Expectation

    calibrated: ClassVar[bool] = False

    @property
    def halo(self) -> int:
        return self.scenery.reach

    @torch.inference_mode()
    def score(self, batches: tuple[TileBatch, ...]) -> NDArray[np.float32]:
        seen, valid = self.scenery(batches[0])
        misfit = self.misfit(seen).view(valid.shape)
        return np.asarray(misfit.masked_fill(~valid, torch.nan).cpu().numpy())

    def misfit(self, seen: Tensor) -> Tensor:
        around, pixel = _split(seen)
        return self.network.misfit(around, pixel)

    def to(self, device: torch.device) -> SurroundingsDetector:
        space = self.scenery.space.to(device)
        return SurroundingsDetector(Scenery(space), self.network.to(device))

    def state(self) -> State:
        network = State(asdict(self.network.config), network_tensors(self.network, ""))
        return joined({}, {"space": self.scenery.space.state(), "network": network})


class SurroundingsFamily:
    def halo(self, setting: Setting) -> int:
        contextual = needs_context(setting)
        return _ring(contextual=contextual).outer + (context.RADIUS if contextual else 0)

    def fit(self, sample: Sample, options: FitOptions) -> SurroundingsDetector:
        return self.fit_kept(sample, options, None)

    def fit_kept(
        self, sample: Sample, options: FitOptions, kept: Kept | None
    ) -> SurroundingsDetector:
        """kept (pixels,): of those that `gather` picks, who may be normal; None = all."""
        space, _ = fit_space(
            sample,
            options.setting,
            options.seed,
            components=COMPONENTS,
            contextual=needs_context(options.setting),
        )
        scenery = Scenery(space)
        around, pixel = _split(gather(sample, scenery, options.seed))
        torch.manual_seed(options.seed)
        network = Expectation(ExpectationConfig(around.shape[1], pixel.shape[1]))
        set_scaling(network, around)
        train_trimmed(
            network,
            lambda indexes: network.loss(around[indexes], pixel[indexes]),
            lambda _: network.misfit(around, pixel).numpy(),
            np.ones(len(pixel), dtype=bool) if kept is None else kept,
            options,
            "what belongs where",
        )
        return SurroundingsDetector(scenery, network)

    def restore(self, state: State) -> SurroundingsDetector:
        network = part(state, "network")
        return SurroundingsDetector(
            Scenery(restore_space(part(state, "space"))),
            load_network(Expectation(ExpectationConfig(**network.config)), network.tensors, ""),
        )


SURROUNDINGS = SurroundingsFamily()


def _ring(*, contextual: bool) -> Ring:
    """Windows of 5 and 17 pixels for spectra; what describes patches is compared with patches."""
    return Ring(8, 32) if contextual else Ring(2, 8)


def _split(seen: Tensor) -> tuple[Tensor, Tensor]:
    components = seen.shape[1] // 3
    return seen[:, : 2 * components], seen[:, 2 * components :]
