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
    needs_context,
    restore_space,
)
from geoanomaly.detectors.robust import Kept, train_trimmed
from geoanomaly.detectors.rows import by_chunks, image, inner_rows, rows, scores
from geoanomaly.networks import Expectation, ExpectationConfig
from geoanomaly.scenes.rings import Ring, ring_mean
from geoanomaly.scenes.sampling import Sample
from geoanomaly.types import Setting
from tiling.types import TileBatch

COMPONENTS = 10
LEAST = 1e-3
"""Smallest local variance that is told from none, in units of the scene's."""


@dataclass(frozen=True)
class Surroundings:
    """How far pixels are from what a ring around them lets expect."""

    ring: Ring
    network: Expectation

    def misfit(self, pixels: Tensor, valid: Tensor, halo: int) -> Tensor:
        """Of the pixels at least `halo` from the edges, by their ring, (inner pixels,).

        pixels (n y x, components), the leading ones of which are used; valid (n, y, x).
        """
        seen = _see(pixels[:, : self.network.config.bands], valid, self.ring)
        inner = inner_rows(seen, valid, halo)
        return by_chunks(lambda chunk: self.network.misfit(*_split(chunk)), inner)

    def to(self, device: torch.device) -> Surroundings:
        return Surroundings(self.ring, self.network.to(device))

    def state(self) -> State:
        config = {"ring": asdict(self.ring), "network": asdict(self.network.config)}
        return State(config, network_tensors(self.network, ""))


def restore_surroundings(state: State) -> Surroundings:
    """The inverse of `Surroundings.state`."""
    network = Expectation(ExpectationConfig(**state.config["network"]))
    return Surroundings(Ring(**state.config["ring"]), load_network(network, state.tensors, ""))


def fit_surroundings(
    sample: Sample, space: PixelSpace, options: FitOptions, kept: Kept | None = None
) -> Surroundings:
    """kept (pixels,): of those that `gather` picks, who may be normal; None = all."""
    ring = _ring(contextual=space.description.contextual)

    def describe(batch: TileBatch) -> tuple[Tensor, Tensor]:
        pixels, valid = space(batch)
        return _see(pixels[:, :COMPONENTS], valid, ring), valid

    around, pixel = _split(gather(sample, describe, options.seed))
    torch.manual_seed(options.seed)
    network = Expectation(ExpectationConfig(around.shape[1], pixel.shape[1]))
    train_trimmed(
        network,
        lambda indexes: network.loss(around[indexes], pixel[indexes]),
        lambda _: network.misfit(around, pixel).numpy(),
        np.ones(len(pixel), dtype=bool) if kept is None else kept,
        options,
        "what belongs where",
    )
    return Surroundings(ring, network)


def _see(pixels: Tensor, valid: Tensor, ring: Ring) -> Tensor:
    """(n y x, c) -> (n y x, 3 c): mean around, log deviation around, the pixel itself."""
    shown = image(pixels, valid)
    mean = ring_mean(shown, valid, ring)
    variance = ring_mean(shown**2, valid, ring) - mean**2
    deviation = 0.5 * variance.clamp_min(LEAST).log()
    return torch.cat([rows(mean), rows(deviation), pixels], dim=1)


def _split(seen: Tensor) -> tuple[Tensor, Tensor]:
    """What is around, and the pixel."""
    components = seen.shape[1] // 3
    return seen[:, : 2 * components], seen[:, 2 * components :]


def _ring(*, contextual: bool) -> Ring:
    """Windows of 5 and 17 pixels for spectra; what describes patches is compared with patches."""
    return Ring(8, 32) if contextual else Ring(2, 8)


@dataclass(frozen=True)
class SurroundingsDetector:
    """Misfit of a pixel to what its surroundings lead to expect."""

    space: PixelSpace
    surroundings: Surroundings

    calibrated: ClassVar[bool] = False

    @property
    def halo(self) -> int:
        return self.space.reach + self.surroundings.ring.outer

    @torch.inference_mode()
    def score(self, batches: tuple[TileBatch, ...]) -> NDArray[np.float32]:
        margin = self.space.reach
        pixels, valid = self.space(batches[0], margin)
        misfit = self.surroundings.misfit(pixels, context.inner(valid, margin), self.halo - margin)
        return np.asarray(scores(misfit, valid, self.halo).cpu().numpy())

    def to(self, device: torch.device) -> SurroundingsDetector:
        return SurroundingsDetector(self.space.to(device), self.surroundings.to(device))

    def state(self) -> State:
        parts = {"space": self.space.state(), "surroundings": self.surroundings.state()}
        return joined({}, parts)


class SurroundingsFamily:
    def halo(self, setting: Setting) -> int:
        contextual = needs_context(setting)
        return _ring(contextual=contextual).outer + (context.RADIUS if contextual else 0)

    def fit(self, sample: Sample, options: FitOptions) -> SurroundingsDetector:
        space, _ = fit_space(
            sample,
            options.setting,
            options.seed,
            components=COMPONENTS,
            contextual=needs_context(options.setting),
        )
        return SurroundingsDetector(space, fit_surroundings(sample, space, options))

    def restore(self, state: State) -> SurroundingsDetector:
        return SurroundingsDetector(
            restore_space(part(state, "space")), restore_surroundings(part(state, "surroundings"))
        )


SURROUNDINGS = SurroundingsFamily()
