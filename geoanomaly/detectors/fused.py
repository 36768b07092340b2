"""The default for one scene: parts that err differently, on one scale.

A VAE and a bank say whether a pixel is like any normal ground. Where it is described by its
spectrum alone, a third part says whether it belongs where it lies, and the two questions
weigh alike; with few bands the description holds the surroundings already. Each part's
scores become those that normal deviates of their ranks have, so that none can shout by
its units alone; their mean lets one that is certain be heard.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr

from geoanomaly import context
from geoanomaly.detectors.autoencoders import VAE, AutoencoderDetector, restore_autoencoder
from geoanomaly.detectors.bank import Bank, fit_bank, restore_bank
from geoanomaly.detectors.base import FitOptions, State, joined, part
from geoanomaly.detectors.pixels import FLAT, needs_context
from geoanomaly.detectors.robust import trim
from geoanomaly.detectors.rows import by_chunks, inner_rows, scores
from geoanomaly.detectors.surroundings import (
    SURROUNDINGS,
    Surroundings,
    fit_surroundings,
    restore_surroundings,
)
from geoanomaly.scenes.sampling import Sample
from geoanomaly.types import Setting
from tiling.types import TileBatch

WEIGHTS = {"vae": 1, "bank": 1, "surroundings": 2}
DEVIATES = np.linspace(-2, 3, 51)
"""The ranks that are kept; beyond the last, the log score goes on as over the last `TAIL`."""

TAIL = 10
"""Of them: one deviation's worth."""

WINDOWS = 16
"""Of the sample, that ranks are taken from."""

MAX_DEVIATE = 20.0
"""Beyond, float32 would lose what the other parts say."""

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Scale:
    """log_scores: of sampled pixels, rising, at `DEVIATES`."""

    log_scores: tuple[float, ...]

    def __call__(self, score: Scores) -> Scores:
        """Scores (any shape) -> exp(standard normal deviate of that rank); NaN stays NaN."""
        logs = np.log(np.maximum(score, FLAT))
        before, last = self.log_scores[-TAIL - 1], self.log_scores[-1]
        slope = (DEVIATES[-1] - DEVIATES[-TAIL - 1]) / (last - before)
        beyond = np.maximum(logs - last, 0) * slope
        deviate = np.interp(logs, self.log_scores, DEVIATES) + beyond
        return np.asarray(np.exp(np.minimum(deviate, MAX_DEVIATE)), dtype=np.float32)


def fit_scale(scores: Scores) -> Scale:
    logs = np.log(np.maximum(scores.astype(np.float64), FLAT))
    # Where all score alike, they still rise a little: the scene is ordinary everywhere.
    rising = np.quantile(logs, ndtr(DEVIATES)) + FLAT * DEVIATES
    return Scale(tuple(rising.tolist()))


@dataclass(frozen=True)
class Parts:
    """What is fused; all look at the pixels in the VAE's space. surroundings: None = not asked."""

    vae: AutoencoderDetector
    bank: Bank
    surroundings: Surroundings | None

    @property
    def reach(self) -> int:
        return self.vae.halo + (self.surroundings.ring.outer if self.surroundings else 0)

    def score(self, batch: TileBatch) -> dict[str, Scores]:
        """By the names of `WEIGHTS`, (n, y, x); NaN = no data."""
        margin = self.vae.halo
        pixels, valid = self.vae.space(batch, margin)
        # What is left around the inner pixels is for the surroundings.
        known, ring = context.inner(valid, margin), self.reach - margin
        inner = inner_rows(pixels, known, ring)
        found = {
            "vae": by_chunks(self.vae.distance, inner),
            "bank": self.bank.distance(inner),
        }
        if self.surroundings:
            found["surroundings"] = self.surroundings.misfit(pixels, known, ring)
        return {name: scores(each, valid, self.reach).cpu().numpy() for name, each in found.items()}

    def to(self, device: torch.device) -> Parts:
        surroundings = self.surroundings and self.surroundings.to(device)
        return Parts(self.vae.to(device), self.bank.to(device), surroundings)

    def states(self) -> dict[str, State]:
        states = {"vae": self.vae.state(), "bank": self.bank.state()}
        if self.surroundings:
            states["surroundings"] = self.surroundings.state()
        return states


@dataclass(frozen=True)
class FusedDetector:
    """Weighted mean of the parts on their common scale. scales: one a part."""

    parts: Parts
    scales: dict[str, Scale]

    calibrated: ClassVar[bool] = False

    @property
    def halo(self) -> int:
        return self.parts.reach

    @torch.inference_mode()
    def score(self, batches: tuple[TileBatch, ...]) -> Scores:
        total = sum(WEIGHTS[name] for name in self.scales)
        scores = self.parts.score(batches[0])
        shares = [
            WEIGHTS[name] / total * scale(scores[name]) for name, scale in self.scales.items()
        ]
        return np.asarray(np.add.reduce(shares), dtype=np.float32)

    def to(self, device: torch.device) -> FusedDetector:
        return replace(self, parts=self.parts.to(device))

    def state(self) -> State:
        scales = {name: scale.log_scores for name, scale in self.scales.items()}
        return joined({"scales": scales}, self.parts.states())


class FusedFamily:
    def halo(self, setting: Setting) -> int:
        return VAE.halo(setting) if needs_context(setting) else SURROUNDINGS.halo(setting)

    def fit(self, sample: Sample, options: FitOptions) -> FusedDetector:
        middle = (options.start + options.end) / 2
        fit = VAE.fit_all(sample, replace(options, end=middle))
        surroundings = None
        if not fit.detector.space.description.contextual:
            with torch.inference_mode():
                strange = by_chunks(fit.detector.distance, fit.pixels).numpy()
            # What is like no normal ground is not what should be expected anywhere.
            kept = trim(strange, np.ones(len(strange), dtype=bool))
            surroundings = fit_surroundings(
                sample, fit.detector.space, replace(options, start=middle), kept
            )
        parts = Parts(fit.detector, fit_bank(fit.pixels), surroundings)
        return FusedDetector(parts, _scales(parts, sample))

    def restore(self, state: State) -> FusedDetector:
        scales = {name: Scale(tuple(scores)) for name, scores in state.config["scales"].items()}
        parts = Parts(
            restore_autoencoder(part(state, "vae")),
            restore_bank(part(state, "bank")),
            restore_surroundings(part(state, "surroundings")) if "surroundings" in scales else None,
        )
        return FusedDetector(parts, scales)


@torch.inference_mode()
def _scales(parts: Parts, sample: Sample) -> dict[str, Scale]:
    """From the first windows of the sample, which are in random order."""
    batch, seen = sample.batches[0], []
    for number, core in enumerate(sample.core[:WINDOWS]):
        scores = parts.score(batch.window(number))
        seen.append({name: score[0][core] for name, score in scores.items()})
    return {name: fit_scale(np.concatenate([each[name] for each in seen])) for name in seen[0]}


FUSED = FusedFamily()
