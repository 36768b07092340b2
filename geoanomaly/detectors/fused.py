"""The default for one scene: what a pixel is and where it is, on one scale.

A VAE and a bank of its codes say whether a pixel is like any normal ground; the
surroundings say whether it belongs where it lies. Each is turned into the deviate
that a normal pixel of that rank would have, and the two questions weigh alike (Stouffer's method).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr

from geoanomaly.detectors.autoencoders import VAE, AutoencoderDetector
from geoanomaly.detectors.bank import Bank, fit_bank, restore_bank
from geoanomaly.detectors.base import FitOptions, State, joined, part
from geoanomaly.detectors.robust import trim
from geoanomaly.detectors.surroundings import SURROUNDINGS, SurroundingsDetector
from geoanomaly.sampling import Sample
from geoanomaly.types import Setting
from tiling.types import TileBatch

WEIGHTS = {"vae": 0.25, "bank": 0.25, "surroundings": 0.5}
DEVIATES = np.linspace(-2, 3, 51)
"""At which ranks are known; beyond the last, the log score goes on as in its last unit."""

LAST_UNIT = 11
"""Deviates in it."""

FLAT = 1e-3
"""Smallest rise of the log score per deviate: a scene of one colour scores alike everywhere."""

MAX_DEVIATE = 20.0
TINY = 1e-12
Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Scale:
    """log_scores: of sampled pixels, rising, at `DEVIATES`."""

    log_scores: tuple[float, ...]

    def deviate(self, score: Scores) -> Scores:
        """Scores (any shape) -> what a standard normal variable has at that rank; NaN stays NaN."""
        logs = np.log(np.maximum(score, TINY))
        unit = self.log_scores[-LAST_UNIT:]
        slope = (DEVIATES[-1] - DEVIATES[-LAST_UNIT]) / (unit[-1] - unit[0])
        beyond = np.maximum(logs - unit[-1], 0) * slope
        deviate = np.interp(logs, self.log_scores, DEVIATES) + beyond
        return np.asarray(np.minimum(deviate, MAX_DEVIATE), dtype=np.float32)


def fit_scale(scores: Scores) -> Scale:
    logs = np.log(np.maximum(scores.astype(np.float64), TINY))
    rising = np.quantile(logs, ndtr(DEVIATES)) + FLAT * DEVIATES
    return Scale(tuple(rising.tolist()))


@dataclass(frozen=True)
class Parts:
    """The three that are fused; they score pixels together to share what they have in common."""

    vae: AutoencoderDetector
    bank: Bank
    surroundings: SurroundingsDetector

    def score(self, batches: tuple[TileBatch, ...]) -> dict[str, Scores]:
        """By the names of `WEIGHTS`, (n, y, x)."""
        pixels, valid = self.vae.space(batches[0])
        residual, code = self.vae.network(pixels)
        found = {"vae": self.vae.distance(residual, code), "bank": self.bank.distance(code)}
        scores = {name: each.view(valid.shape).cpu().numpy() for name, each in found.items()}
        return {**scores, "surroundings": self.surroundings.score(batches)}


@dataclass(frozen=True)
class FusedDetector:
    """Exponential of the weighted mean deviate, so that scores are positive as others are."""

    parts: Parts
    scales: dict[str, Scale]

    calibrated: ClassVar[bool] = False

    @property
    def halo(self) -> int:
        return max(self.parts.vae.halo, self.parts.surroundings.halo)

    @torch.inference_mode()
    def score(self, batches: tuple[TileBatch, ...]) -> Scores:
        scores = self.parts.score(batches)
        deviate = sum(
            weight * self.scales[name].deviate(scores[name]) for name, weight in WEIGHTS.items()
        )
        # The surroundings are NaN where there is no data, and so is the sum.
        return np.exp(deviate, dtype=np.float32)

    def to(self, device: torch.device) -> FusedDetector:
        vae, bank, surroundings = self.parts.vae, self.parts.bank, self.parts.surroundings
        parts = Parts(vae.to(device), bank.to(device), surroundings.to(device))
        return replace(self, parts=parts)

    def state(self) -> State:
        scales = {name: scale.log_scores for name, scale in self.scales.items()}
        parts = {name: getattr(self.parts, name).state() for name in WEIGHTS}
        return joined({"scales": scales}, parts)


class FusedFamily:
    def halo(self, setting: Setting) -> int:
        return max(VAE.halo(setting), SURROUNDINGS.halo(setting))

    def fit(self, sample: Sample, options: FitOptions) -> FusedDetector:
        middle = (options.start + options.end) / 2
        fit = VAE.fit_all(sample, replace(options, end=middle))
        with torch.inference_mode():
            residual, code = fit.detector.network(fit.pixels)
            bank = fit_bank(code, fit.kept)
            strange = fit.detector.distance(residual, code).numpy()
        kept = trim(strange, np.ones(len(strange), dtype=bool))
        surroundings = SURROUNDINGS.fit_kept(sample, replace(options, start=middle), kept)
        parts = Parts(fit.detector, bank, surroundings)
        return FusedDetector(parts, _scales(parts, sample))

    def restore(self, state: State) -> FusedDetector:
        parts = Parts(
            VAE.restore(part(state, "vae")),
            restore_bank(part(state, "bank")),
            SURROUNDINGS.restore(part(state, "surroundings")),
        )
        scales = {name: Scale(tuple(scores)) for name, scores in state.config["scales"].items()}
        return FusedDetector(parts, scales)


@torch.inference_mode()
def _scales(parts: Parts, sample: Sample) -> dict[str, Scale]:
    """From all pixels of the sample, window by window as in detection."""
    seen: dict[str, list[Scores]] = {name: [] for name in WEIGHTS}
    for number, core in enumerate(sample.core):
        for name, scores in parts.score((sample.batches[0].window(number),)).items():
            seen[name].append(scores[0][core])
    return {name: fit_scale(np.concatenate(scores)) for name, scores in seen.items()}


FUSED = FusedFamily()
