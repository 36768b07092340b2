"""The default for change: the views that the pair itself confirms, fused.

The view of prediction comes first. It is trusted where its two directions agree with
each other, and a view of pretrained features joins it where the two agree, at the
coarsest scale at which they do. All of that is measured on the sample, without labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from geoanomaly import context, pretrained
from geoanomaly.detectors.agreement import agreement
from geoanomaly.detectors.base import FitOptions, State, joined, part
from geoanomaly.detectors.change import fit_prediction
from geoanomaly.detectors.dates import Dates, fit_dates
from geoanomaly.detectors.difference import band_difference, log_ratio_view
from geoanomaly.detectors.evidence import (
    Candidate,
    Evidence,
    Window,
    candidate,
    fuse,
    restore_evidence,
    windows,
)
from geoanomaly.detectors.features import fit_features, photograph
from geoanomaly.detectors.prediction import PredictionView
from geoanomaly.detectors.rows import scores
from geoanomaly.detectors.views import smoothed
from geoanomaly.scenes.sampling import Sample
from geoanomaly.types import Progress, Setting
from tiling.types import TileBatch

FINE, COARSE = 1.5, 3.0
"""Gaussian sigmas in pixels: of pixels and fine features, of coarse features and other sensors."""

QUIET_BANDS = 3
"""With more bands the energy of a pixel is less noisy, and less smoothing is needed."""

RELATED = 0.5
"""Least agreement of the two directions of prediction, or there is no relation to speak of."""

CONFIRMED = 0.5
"""Least agreement of the log-ratio that lets prediction stand for radar."""


@dataclass(frozen=True)
class FusedChange:
    """choice: what was chosen and why, as sentences."""

    dates: Dates
    evidence: tuple[Evidence, ...]
    choice: tuple[str, ...]

    calibrated: ClassVar[bool] = True

    @property
    def halo(self) -> int:
        return max(_whole_strides(each.halo) for each in self.evidence)

    @torch.inference_mode()
    def score(self, batches: tuple[TileBatch, ...]) -> NDArray[np.float32]:
        window = self.dates(batches)
        surprise = [self._surprise(each, window) for each in self.evidence]
        fused = torch.from_numpy(fuse(self.evidence, surprise))
        return np.asarray(scores(fused, window[2].cpu(), self.halo).numpy())

    def _surprise(self, evidence: Evidence, window: Window) -> NDArray[np.float32]:
        """Of the inner pixels, from no more around them than that evidence needs."""
        halo = _whole_strides(evidence.halo)
        before, after, valid = (context.inner(part, self.halo - halo) for part in window)
        return evidence.surprise(before, after, valid, halo)

    def to(self, device: torch.device) -> FusedChange:
        evidence = tuple(each.to(device) for each in self.evidence)
        return FusedChange(self.dates.to(device), evidence, self.choice)

    def state(self) -> State:
        named = {f"view{number}": each.state() for number, each in enumerate(self.evidence)}
        return joined({**self.dates.config(), "choice": self.choice}, named)


def _whole_strides(pixels: int) -> int:
    """Tiles begin where the network's strides do, whichever view was chosen."""
    stride = pretrained.stride(pretrained.DEEP)
    return -(-pixels // stride) * stride


@dataclass(frozen=True)
class Scale:
    """Pretrained features that may join.

    blocks: of the network; smoothing: Gaussian sigma in pixels; weight: in the fusion, where
    the pixels have 1, for scenes of three bands; needed: least agreement with the pixels.
    """

    name: str
    blocks: int
    smoothing: float
    weight: float
    needed: float


SCALES = (
    # What costs resolution must be vouched for better.
    Scale("Coarse", pretrained.DEEP, COARSE, 1.0, needed=0.6),
    # Half the say: it sees little else than the pixels do.
    Scale("Fine", pretrained.SHALLOW, FINE, 0.5, needed=0.5),
)

_Choice = tuple[tuple[Evidence, ...], tuple[str, ...]]


@dataclass(frozen=True)
class FusedChangeFamily:
    """Chooses by the pair, and fits what it chooses from.

    network: correct the linear relation by a network? scales: of features, the first that
    is confirmed joins; related: least agreement of the two directions of prediction.
    """

    network: bool = True
    scales: tuple[Scale, ...] = SCALES
    related: float = RELATED

    def halo(self, setting: Setting) -> int:
        halos = [context.RADIUS + context.radius(COARSE)]
        if not _unphotographic(setting):
            halos += [_halo(scale) for scale in self.scales]
        return _whole_strides(max(halos))

    def fit(self, sample: Sample, options: FitOptions) -> FusedChange:
        """At most 60 s on two cores whatever the scene's size: the sample is bounded."""
        dates = fit_dates(sample, options.setting.log)
        evidence, choice = self._choose(sample, dates, options)
        for reason in choice:
            options.report(Progress("fitting", options.end, reason))
        return FusedChange(dates, evidence, choice)

    def restore(self, state: State) -> FusedChange:
        count = sum(name.startswith("view") for name in state.config)
        return FusedChange(
            Dates.from_config(state.config),
            tuple(restore_evidence(part(state, f"view{number}")) for number in range(count)),
            tuple(state.config["choice"]),
        )

    def _choose(self, sample: Sample, dates: Dates, options: FitOptions) -> _Choice:
        near = sample.cropped(context.RADIUS + context.radius(COARSE))
        view = fit_prediction(near, dates, options, network=self.network)
        prediction, agreed = _predicted(view, near, dates)
        if all(options.setting.log):
            return _radar(prediction, near, dates)
        if agreed < self.related:
            difference = candidate(band_difference(dates), COARSE, near, dates)
            why = (
                "The two dates predict each other badly: the strangest pixels of either direction "
                f"agree by {agreed:.0%}, {self.related:.0%} are needed. Compared by the difference "
                f"of standardised bands, smoothed over {COARSE:g} px."
            )
            return (difference.evidence(),), (why,)
        holds = f"The two dates predict each other: both directions agree by {agreed:.0%}."
        hindrance = _unphotographic(options.setting)
        if hindrance:
            return (prediction.evidence(),), (holds, f"Pixels alone: {hindrance}.")
        joining, reasons = self._features(prediction, sample, dates, options)
        return (prediction.evidence(), *joining), (holds, *reasons)

    def _features(
        self, prediction: Candidate, sample: Sample, dates: Dates, options: FitOptions
    ) -> _Choice:
        """The coarsest features that the pixels confirm: large pixels show no pattern."""
        reasons: list[str] = []
        before, after = (photograph(names) for names in options.setting.bands)
        for scale in self.scales:
            name = f"{scale.name} pretrained features"
            options.report(Progress("fitting", options.end, name))
            near = sample.cropped(_halo(scale))
            pair = windows(near, dates)
            view = fit_features(near, pair, (before, after), scale.blocks, options.seed)
            features = candidate(view, scale.smoothing, near, dates)
            shared = agreement(prediction.seen, features.seen)
            if shared >= scale.needed:
                reasons.append(f"{name} agree with the pixels by {shared:.0%}: used.")
                return (features.evidence(scale.weight * _shown(dates)),), tuple(reasons)
            reasons.append(
                f"{name} agree with the pixels by {shared:.0%}: not used, "
                f"{scale.needed:.0%} are needed."
            )
        return (), tuple(reasons)


FUSED_CHANGE = FusedChangeFamily()


def _halo(scale: Scale) -> int:
    return pretrained.reach(scale.blocks) + context.radius(scale.smoothing)


def _radar(prediction: Candidate, sample: Sample, dates: Dates) -> _Choice:
    """Backscatter is calibrated, so where the views part, the plain ratio is believed.

    A relation that is fitted to most of a scene takes a flood of most of it for the sensor's.
    """
    if dates.before.log != dates.after.log:
        why = "Radar: prediction of one date from the other; only one date is in decibel."
        return (prediction.evidence(),), (why,)
    ratio = candidate(log_ratio_view(dates), FINE, sample, dates)
    shared = agreement(prediction.seen, ratio.seen)
    if shared >= CONFIRMED:
        why = f"Radar: prediction of one date from the other; the log-ratio agrees by {shared:.0%}."
        return (prediction.evidence(),), (why,)
    why = (
        f"Radar: the log-ratio, which agrees with the prediction by {shared:.0%} only; "
        f"{CONFIRMED:.0%} would be needed to trust what is normalised by the scene itself."
    )
    return (ratio.evidence(),), (why,)


@torch.inference_mode()
def _predicted(view: PredictionView, sample: Sample, dates: Dates) -> tuple[Candidate, float]:
    """The view as a candidate, and the agreement of its two directions.

    Without a relation between the dates, each direction sees something else.
    """
    smoothing = _quiet(dates)
    seen: tuple[list[NDArray[np.float32]], ...] = ([], [], [])
    for window, core in zip(windows(sample, dates), sample.core, strict=True):
        forward, backward = view.energies(*window)
        for found, energy in zip(seen, ((forward + backward) / 2, forward, backward), strict=True):
            found.append(smoothed(energy, window[2], smoothing)[0].numpy()[core])
    both, forth, back = (np.concatenate(found) for found in seen)
    return Candidate(view, smoothing, both), agreement(forth, back)


def _quiet(dates: Dates) -> float:
    """Smoothing that leaves the noise of `QUIET_BANDS` bands, whatever the number of bands."""
    return FINE * min(1.0, math.sqrt(QUIET_BANDS / _bands(dates)))


def _shown(dates: Dates) -> float:
    """How much say a photograph has: it shows three bands, the rest it knows nothing of."""
    return min(1.0, math.sqrt(3 / _bands(dates)))


def _bands(dates: Dates) -> int:
    return min(len(dates.before.mean), len(dates.after.mean))


def _unphotographic(setting: Setting) -> str:
    """Why a network trained on photographs cannot look at the scenes; empty when it can."""
    if any(setting.log):
        return "radar is no photograph"
    if not pretrained.available():
        return f"the pretrained features are not installed ({pretrained.PACKAGE})"
    return ""
