"""What is unusual in one scene: what a model of normal ground does not explain of a pixel."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoanomaly import context
from geoanomaly.backbone import Matrix, energy, whitener
from geoanomaly.detectors.base import FitOptions, State, load_network, network_tensors
from geoanomaly.networks import Vae, VaeConfig, set_scaling
from geoanomaly.normalise import Normaliser, fit_normaliser
from geoanomaly.sampling import Sample, pick
from geoanomaly.training import Schedule, Watch, held_out_blocks, train
from geoanomaly.types import Setting
from tiling.types import TileBatch

SPECTRAL_BANDS = 16
"""With more bands a pixel's spectrum says enough; with fewer its surroundings are needed too."""

TRIMMED = 0.02
"""Share of the strangest pixels that is left out after each round, so that anomalies in the
training scene are not learnt."""

ROUNDS = 4
SCHEDULE = Schedule(steps=300, batch=512, rate=2e-3, look=100)
MAX_FEATURE_VALUES = 24_000_000


@dataclass(frozen=True)
class SingleDetector:
    """Root mean energy of the whitened residual of normalised features.

    centre (features,), whiten (features, features): of normal residuals; network: None
    for plain RX, whose residual is the distance from the mean; contextual: are the
    features the pixel's surroundings too?
    """

    normalise: Normaliser
    centre: Tensor
    whiten: Tensor
    network: Vae | None
    contextual: bool

    calibrated: ClassVar[bool] = False

    @property
    def halo(self) -> int:
        return context.RADIUS if self.contextual else 0

    @torch.inference_mode()
    def score(self, batches: tuple[TileBatch, ...]) -> NDArray[np.float32]:
        device = self.whiten.device
        valid = torch.from_numpy(batches[0].valid).to(device)
        data = self.normalise(torch.from_numpy(batches[0].data).to(device)) * valid[:, None]
        features = _features(data, valid, contextual=self.contextual)
        residual = (self._residual(features) - self.centre) @ self.whiten
        root = (residual**2).mean(-1).sqrt().view(valid.shape)
        return np.asarray(root.masked_fill(~valid, torch.nan).cpu().numpy())

    def _residual(self, features: Tensor) -> Tensor:
        return features if self.network is None else self.network.residual(features)

    def to(self, device: torch.device) -> SingleDetector:
        network = None if self.network is None else self.network.to(device)
        return replace(
            self,
            normalise=self.normalise.to(device),
            centre=self.centre.to(device),
            whiten=self.whiten.to(device),
            network=network,
        )

    def state(self) -> State:
        config: dict[str, Any] = {
            "normalise": self.normalise.config(),
            "contextual": self.contextual,
            "network": None if self.network is None else asdict(self.network.config),
        }
        tensors = {"centre": self.centre.cpu().numpy(), "whiten": self.whiten.cpu().numpy()}
        if self.network is not None:
            tensors |= network_tensors(self.network, "network.")
        return State(config, tensors)


@dataclass(frozen=True)
class SingleFamily:
    """Fits single-scene detectors, with the VAE or as plain RX."""

    network: bool

    def halo(self, setting: Setting) -> int:
        return context.RADIUS if self.network else 0

    def fit(self, sample: Sample, options: FitOptions) -> SingleDetector:
        normalise = fit_normaliser(sample, 0, log=options.setting.log[0])
        contextual = self.network and sample.batches[0].data.shape[1] <= SPECTRAL_BANDS
        features, held_out = _gather(sample, normalise, options.seed, contextual=contextual)
        network = _fit_vae(features, held_out, options) if self.network else None
        residual = _residual(network, features)
        kept = _trim(residual, np.ones(len(residual), dtype=bool), rounds=2)
        centre = residual[kept].mean(0)
        whiten = whitener(residual[kept] - centre, np.ones(int(kept.sum())))
        return SingleDetector(normalise, _tensor(centre), _tensor(whiten), network, contextual)

    def restore(self, state: State) -> SingleDetector:
        network = None
        if state.config["network"] is not None:
            network = Vae(VaeConfig(**state.config["network"]))
            load_network(network, state.tensors, "network.")
        return SingleDetector(
            Normaliser.from_config(state.config["normalise"]),
            torch.from_numpy(np.array(state.tensors["centre"])),
            torch.from_numpy(np.array(state.tensors["whiten"])),
            network,
            state.config["contextual"],
        )


VAE = SingleFamily(network=True)
RX = SingleFamily(network=False)


def _features(data: Tensor, valid: Tensor, *, contextual: bool) -> Tensor:
    """(n, c, y, x) -> one row a pixel."""
    shown = context.features(data, valid) if contextual else data
    return shown.permute(0, 2, 3, 1).flatten(0, 2)


def _gather(
    sample: Sample, normalise: Normaliser, seed: int, *, contextual: bool
) -> tuple[Tensor, Tensor]:
    """At most 200,000 core pixels in random order, and which of them are held out."""
    generator = np.random.default_rng(seed)
    held_out = held_out_blocks(sample.core, generator)
    bands = sample.batches[0].data.shape[1] * (6 if contextual else 1)
    picked = pick(sample, min(200_000, MAX_FEATURE_VALUES // bands), generator)
    parts = []
    for number, positions in enumerate(picked.windows):
        valid = torch.from_numpy(sample.batches[0].valid[number : number + 1])
        data = torch.from_numpy(sample.batches[0].data[number : number + 1])
        features = _features(normalise(data) * valid[:, None], valid, contextual=contextual)
        parts.append(features[positions])
    return torch.cat(parts)[picked.order], torch.from_numpy(held_out[picked.number])


def _fit_vae(features: Tensor, held_out: Tensor, options: FitOptions) -> Vae:
    """Train in rounds; after each, the strangest pixels lose their say."""
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    network = Vae(VaeConfig(features.shape[1], _latent(features.shape[1])))
    set_scaling(network, features)
    kept = np.ones(len(features), dtype=bool)
    step = (options.end - options.start) / ROUNDS
    for number in range(ROUNDS):
        watch = Watch(
            options.report,
            options.start + step * number,
            options.start + step * (number + 1),
            f"normal ground, round {number + 1}",
        )
        weight = torch.from_numpy(kept.astype(np.float32))
        train(
            network,
            lambda indexes: network.loss(features[indexes]),
            weight,
            held_out,
            SCHEDULE,
            watch,
            generator,
        )
        kept = _trim(_residual(network, features), kept, rounds=1)
    network.eval()
    return network


def _latent(features: int) -> int:
    """Ten at most; few features need a narrower code, or it would copy them."""
    return min(10, max(1, features // 3))


@torch.inference_mode()
def _residual(network: Vae | None, features: Tensor) -> Matrix:
    residual = features if network is None else network.residual(features)
    return np.asarray(residual.double().numpy())


def _trim(residual: Matrix, kept: NDArray[np.bool_], *, rounds: int) -> NDArray[np.bool_]:
    """Drop the `TRIMMED` share of largest Mahalanobis residuals, `rounds` times."""
    for _ in range(rounds):
        normal = residual[kept]
        centre = normal.mean(0)
        energies = energy((residual - centre) @ whitener(normal - centre, np.ones(len(normal))))
        kept = kept & (energies <= np.quantile(energies[kept], 1 - TRIMMED))
    return kept


def _tensor(matrix: Matrix) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float32))
