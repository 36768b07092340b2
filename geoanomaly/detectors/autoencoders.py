"""What an autoencoder of normal pixels does not explain, and where its code has never been."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoanomaly import context
from geoanomaly.backbone import Matrix, energy
from geoanomaly.detectors.base import FitOptions, State, joined, load_network, network_tensors, part
from geoanomaly.detectors.pixels import (
    FLAT,
    PixelSpace,
    fit_space,
    needs_context,
    restore_space,
    to_tensor,
)
from geoanomaly.detectors.robust import Kept, normal_whitener, train_trimmed
from geoanomaly.detectors.rows import by_chunks, scores
from geoanomaly.networks import Autoencoder, AutoencoderConfig, Vae
from geoanomaly.scenes.sampling import Sample
from geoanomaly.types import Setting
from tiling.types import TileBatch

COMPONENTS = 16
LATENT = 10


@dataclass(frozen=True)
class AutoencoderDetector:
    """Root mean square of (evidence - centre) @ matrix.

    The evidence is the residual; with a VAE, the code too: its prior makes it a measure.
    centre (evidence,), matrix (evidence, evidence): of normal pixels.
    """

    space: PixelSpace
    network: Autoencoder
    centre: Tensor
    matrix: Tensor

    calibrated: ClassVar[bool] = False

    @property
    def halo(self) -> int:
        return self.space.reach

    @torch.inference_mode()
    def score(self, batches: tuple[TileBatch, ...]) -> NDArray[np.float32]:
        pixels, valid = self.space(batches[0], self.halo)
        root = by_chunks(self.distance, pixels)
        return np.asarray(scores(root, valid, self.halo).cpu().numpy())

    def distance(self, pixels: Tensor) -> Tensor:
        """(pixels, components) -> (pixels,)."""
        residual, code = self.network(pixels)
        evidence = torch.cat([residual, code], dim=1)[:, : len(self.centre)]
        return ((evidence - self.centre) @ self.matrix).square().mean(-1).sqrt()

    def to(self, device: torch.device) -> AutoencoderDetector:
        return AutoencoderDetector(
            self.space.to(device),
            self.network.to(device),
            self.centre.to(device),
            self.matrix.to(device),
        )

    def state(self) -> State:
        tensors = {"centre": self.centre.cpu().numpy(), "matrix": self.matrix.cpu().numpy()}
        weights = network_tensors(self.network, "network.")
        config = {
            "variational": isinstance(self.network, Vae),
            "network": asdict(self.network.config),
        }
        return joined(
            {}, {"space": self.space.state(), "model": State(config, {**tensors, **weights})}
        )


def restore_autoencoder(state: State) -> AutoencoderDetector:
    """The inverse of `AutoencoderDetector.state`."""
    model = part(state, "model")
    kind = Vae if model.config["variational"] else Autoencoder
    network = kind(AutoencoderConfig(**model.config["network"]))
    return AutoencoderDetector(
        restore_space(part(state, "space")),
        load_network(network, model.tensors, "network."),
        torch.from_numpy(np.array(model.tensors["centre"])),
        torch.from_numpy(np.array(model.tensors["matrix"])),
    )


@dataclass(frozen=True)
class Fit:
    """A fitted detector and what it was fitted on.

    pixels (pixels, components), in random order; kept (pixels,): who counted as normal in the end.
    """

    detector: AutoencoderDetector
    pixels: Tensor
    kept: Kept


@dataclass(frozen=True)
class AutoencoderFamily:
    variational: bool

    def halo(self, setting: Setting) -> int:
        return context.RADIUS if needs_context(setting) else 0

    def fit(self, sample: Sample, options: FitOptions) -> AutoencoderDetector:
        return self.fit_all(sample, options).detector

    def fit_all(self, sample: Sample, options: FitOptions) -> Fit:
        space, pixels = fit_space(
            sample,
            options.setting,
            options.seed,
            components=COMPONENTS,
            contextual=needs_context(options.setting),
        )
        torch.manual_seed(options.seed)
        features = pixels.shape[1]
        # A code as wide as the pixel would copy it.
        config = AutoencoderConfig(features, min(LATENT, max(1, features // 2)))
        network = Vae(config) if self.variational else Autoencoder(config)
        kept = train_trimmed(
            network,
            lambda indexes: network.loss(pixels[indexes]),
            lambda kept: _strangeness(network, pixels, kept),
            np.ones(len(pixels), dtype=bool),
            options,
            "normal ground",
        )
        centre, matrix = _normal(network, pixels, kept)
        detector = AutoencoderDetector(space, network, to_tensor(centre), to_tensor(matrix))
        return Fit(detector, pixels, kept)

    def restore(self, state: State) -> AutoencoderDetector:
        return restore_autoencoder(state)


AE = AutoencoderFamily(variational=False)
VAE = AutoencoderFamily(variational=True)


def _strangeness(network: Autoencoder, pixels: Tensor, kept: Kept) -> Matrix:
    centre, matrix = _normal(network, pixels, kept)
    return energy((_evidence(network, pixels) - centre) @ matrix)


def _normal(network: Autoencoder, pixels: Tensor, kept: Kept) -> tuple[Matrix, Matrix]:
    """Centre and matrix of a detector: by the covariance of a VAE's evidence, else by deviations.

    A plain autoencoder is the textbook's: each feature's error by its own size.
    """
    evidence = _evidence(network, pixels)
    if isinstance(network, Vae):
        return normal_whitener(evidence, kept)
    normal = evidence[kept]
    return normal.mean(axis=0), np.diag(1 / np.maximum(normal.std(axis=0), FLAT))


@torch.inference_mode()
def _evidence(network: Autoencoder, pixels: Tensor) -> Matrix:
    residual, code = network(pixels)
    seen = torch.cat([residual, code], dim=1) if isinstance(network, Vae) else residual
    return np.asarray(seen.double().numpy())
