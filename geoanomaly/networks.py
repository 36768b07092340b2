"""The networks. They work pixel by pixel on features, so they are fully convolutional.

Config, modules and shapes only: no I/O, no logging, no choice of device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class AutoencoderConfig:
    """features: of a pixel; latent: dimensions of the code; width: of the hidden layers."""

    features: int
    latent: int
    width: int = 48


class Autoencoder(nn.Module):
    """An autoencoder of one pixel's features, with a linear path beside each network.

    The linear path makes it at least a principal-component model; the networks bend it.
    """

    def __init__(self, config: AutoencoderConfig, outputs: int = 1) -> None:
        """outputs: of the encoder's network, per dimension of the code."""
        super().__init__()
        self.config = config
        self.encoder = _mlp(config.features, config.width, outputs * config.latent)
        self.encoder_skip = nn.Linear(config.features, config.latent, bias=False)
        self.decoder = _mlp(config.latent, config.width, config.features)
        self.decoder_skip = nn.Linear(config.latent, config.features, bias=False)

    def code(self, features: Tensor) -> Tensor:
        """(..., features) -> (..., latent); deterministic."""
        return torch.as_tensor(self.encoder(features) + self.encoder_skip(features))

    def decode(self, code: Tensor) -> Tensor:
        return torch.as_tensor(self.decoder(code) + self.decoder_skip(code))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What the code does not explain (..., features), and the code (..., latent)."""
        code = self.code(features)
        return features - self.decode(code), code

    def loss(self, features: Tensor) -> Tensor:
        """Squared error per pixel, (...,)."""
        residual, _ = self(features)
        return torch.as_tensor((residual**2).sum(-1))


class Vae(Autoencoder):
    """A variational autoencoder (Kingma and Welling 2014, arXiv:1312.6114)."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__(config, outputs=2)
        self.log_deviation = nn.Parameter(torch.zeros(config.features))

    def encode(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(..., features) -> mean and log variance of the code, each (..., latent)."""
        mean, log_variance = self.encoder(features).chunk(2, dim=-1)
        return mean + self.encoder_skip(features), log_variance.clamp(-8, 4)

    def code(self, features: Tensor) -> Tensor:
        return self.encode(features)[0]

    def loss(self, features: Tensor) -> Tensor:
        """Negative evidence lower bound per pixel, (...,)."""
        mean, log_variance = self.encode(features)
        code = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        error = (features - self.decode(code)) * torch.exp(-self.log_deviation)
        fit = 0.5 * (error**2).sum(-1) + self.log_deviation.sum()
        return fit + divergence(mean, log_variance)


@dataclass(frozen=True)
class ExpectationConfig:
    """around: features of a pixel's surroundings; bands: of the pixel itself."""

    around: int
    bands: int
    width: int = 48


class Expectation(nn.Module):
    """What a pixel should be by its surroundings: centre and scale of a Student-t in each band."""

    def __init__(self, config: ExpectationConfig) -> None:
        super().__init__()
        self.config = config
        # A small scene is soon known by heart, its anomalies too, but for the dropout.
        self.network = _mlp(config.around, config.width, 2 * config.bands, dropout=0.1)
        self.skip = nn.Linear(config.around, 2 * config.bands)

    def forward(self, around: Tensor) -> tuple[Tensor, Tensor]:
        """(..., around) -> centre and log scale, each (..., bands)."""
        centre, log_scale = (self.network(around) + self.skip(around)).chunk(2, dim=-1)
        return centre, log_scale.clamp(-4, 4)

    def misfit(self, around: Tensor, pixel: Tensor) -> Tensor:
        """How far a pixel (..., bands) is from what it should be, by its scale, (...,)."""
        centre, log_scale = self(around)
        return student_t((pixel - centre) * torch.exp(-log_scale))

    def loss(self, around: Tensor, pixel: Tensor) -> Tensor:
        """Negative log likelihood per pixel up to a constant, (...,)."""
        centre, log_scale = self(around)
        error = (pixel - centre) * torch.exp(-log_scale)
        return torch.as_tensor(student_t(error) + log_scale.sum(-1))


@dataclass(frozen=True)
class TranslationConfig:
    """source_features: context features of a pixel at the source date; source, target: bands."""

    source_features: int
    source: int
    target: int
    latent: int = 6
    width: int = 48


class TranslationVae(nn.Module):
    """What the linear no-change relation misses, predicted from the source date alone.

    The code never sees the target date: if it did, it would explain the change
    away. The last layer starts at zero, so training starts from the linear model.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, config: TranslationConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("centre", torch.zeros(config.source_features))
        self.register_buffer("spread", torch.ones(config.source_features))
        self.encoder = _mlp(config.source_features, config.width, 2 * config.latent)
        self.decoder = _mlp(config.latent, config.width, config.target)
        self.self_head = nn.Linear(config.latent, config.source)
        last = self.decoder[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def encode(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(..., source_features) -> mean and log variance of the code, each (..., latent)."""
        mean, log_variance = self.encoder((features - self.centre) / self.spread).chunk(2, dim=-1)
        return mean, log_variance.clamp(-8, 4)

    def correction(self, features: Tensor) -> Tensor:
        """Expected whitened residual of the target date, (..., target); deterministic."""
        mean, _ = self.encode(features)
        return torch.as_tensor(self.decoder(mean))

    def loss(self, features: Tensor, source: Tensor, residual: Tensor) -> Tensor:
        """Per pixel, (...,): Student-t misfit, 0.1 KL, 0.05 self-reconstruction of the source."""
        mean, log_variance = self.encode(features)
        code = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        misfit = student_t(residual - self.decoder(code))
        itself = ((source - self.self_head(code)) ** 2).mean(-1)
        return torch.as_tensor(misfit + 0.1 * divergence(mean, log_variance) + 0.05 * itself)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence from N(0, 1), summed over the code."""
    terms = mean**2 + torch.exp(log_variance) - 1 - log_variance
    return torch.as_tensor(0.5 * terms.sum(-1))


def student_t(error: Tensor, nu: float = 4.0) -> Tensor:
    """Student-t negative log density up to a constant, summed over bands: outliers pull little."""
    return torch.as_tensor(0.5 * (nu + 1) * torch.log1p(error**2 / nu).sum(-1))


def set_scaling(network: TranslationVae, features: Tensor) -> None:
    """Fix the standardisation of the input from (pixels, features)."""
    network.centre.copy_(features.mean(0))
    network.spread.copy_(features.std(0).clamp_min(1e-6))


def _mlp(inputs: int, width: int, outputs: int, dropout: float = 0.0) -> nn.Sequential:
    between: list[nn.Module] = [nn.Dropout(dropout)] if dropout else []
    layers = nn.Sequential(
        *between,
        nn.Linear(inputs, width),
        nn.ReLU(),
        *between,
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, outputs),
    )
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5))
    return layers
