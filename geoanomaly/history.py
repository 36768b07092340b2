"""What the earlier dates of a place tell: how its calm pairs score, and what to expect of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray

from geoanomaly.calibration import (
    AsScored,
    Calibration,
    Earlier,
    Estimate,
    blocks_of,
    calibrate,
    conformal,
    sample_scores,
)
from geoanomaly.detectors.base import Detector, DetectorFamily, FitOptions
from geoanomaly.detectors.change import fit_prediction
from geoanomaly.detectors.dates import Dates, fit_dates
from geoanomaly.detectors.difference import DifferenceView, band_difference, log_ratio_view
from geoanomaly.detectors.evidence import Evidence, candidate, windows
from geoanomaly.detectors.features import FeatureView, fit_features
from geoanomaly.detectors.fused_change import FusedChange
from geoanomaly.detectors.prediction import PredictionView
from geoanomaly.detectors.views import View
from geoanomaly.scenes import sampling
from geoanomaly.scenes.inputs import MIN_VALID_PIXELS, Inputs
from geoanomaly.scenes.sampling import Sample
from geoanomaly.scenes.timeline import acquired, alike, season_apart
from geoanomaly.types import Progress, Setting, silent
from tiling.types import Tile, TileBatch

PAIRS, FORECASTS = 2, 3
"""Earlier pairs, or dates to foretell, that the detector is fitted to. With the job's own it must
take a minute at most."""

SHARE = 8
"""Each is learnt from this part of the usual sample."""

LEVEL_SHARE = 8
"""The level of a date is measured on this part of the usual sample."""

MAX_DATES = 12
"""Earlier dates that a forecast looks at."""


Level = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Mean and deviation of a date, (band,) each."""


@dataclass(frozen=True)
class Stack(Inputs):
    """All earlier dates of a place as the bands of one scene, and the date to be foretold.

    What is missing at one earlier date is filled with the median of the others, moved
    from their levels to its own. levels: of the earlier dates.
    """

    levels: tuple[Level, ...] = ()

    @property
    def setting(self) -> Setting:
        first = super().setting
        earlier = tuple(name for names in first.bands[:-1] for name in names)
        return Setting(
            first.sensors[-2:], (earlier, first.bands[-1]), first.log[-2:], first.pixel_size
        )

    def read(self, tile: Tile) -> tuple[TileBatch, ...]:
        """Two batches: (1, dates times bands, y, x), and that of the last date."""
        *earlier, last = super().read(tile)
        return (_filled(earlier, self.levels), last)


def _filled(dates: list[TileBatch], levels: tuple[Level, ...]) -> TileBatch:
    data = np.concatenate([batch.data for batch in dates])
    valid = np.concatenate([batch.valid for batch in dates])
    seen, always = np.asarray(valid.any(axis=0)), np.asarray(valid.all(axis=0))
    gaps = seen & ~always
    bands, here = np.moveaxis(data, 1, -1)[:, gaps], valid[:, gaps, None]
    mean, spread = (np.stack(part)[:, None] for part in zip(*levels, strict=True))
    known = np.where(here, (bands - mean) / spread, np.float32(np.nan))
    middle = np.nanmedian(known, axis=0) * spread + mean
    data[:, :, gaps] = np.moveaxis(np.where(here, bands, middle), -1, 1)
    return TileBatch(data.reshape(1, -1, *seen.shape), seen[None])


def stacked(inputs: Inputs) -> Stack:
    """The after scene on top of all earlier ones, of which the likest in season are taken."""
    before, after = alone(inputs, 0), alone(inputs, 1)
    likest = sorted(inputs.history, key=lambda earlier: _unlike(earlier, after))
    earlier = (*likest[: MAX_DATES - 1], before)
    stack = Stack(
        **vars(_together(*earlier, after)), levels=tuple(_level(each) for each in earlier)
    )
    return replace(stack, history=inputs.history)


def _level(scene: Inputs) -> Level:
    """Of a scene alone, from a few windows."""
    sample = sampling.draw(scene, halo=0, seed=0, report=silent, share=LEVEL_SHARE)
    pixels = sample.batches[0].data.transpose(1, 0, 2, 3)[:, sample.core].astype(np.float64)
    if not sample.pixels:
        return np.zeros(len(pixels), np.float32), np.ones(len(pixels), np.float32)
    mean, spread = pixels.mean(axis=1), np.maximum(pixels.std(axis=1), 1e-12)
    return mean.astype(np.float32), spread.astype(np.float32)


def alone(inputs: Inputs, number: int) -> Inputs:
    """One scene of a job by itself, on the grid of the last."""
    return Inputs(
        (replace(inputs.scenes[number], geobox=inputs.scenes[-1].geobox),),
        inputs.arrays[number : number + 1],
        inputs.clip,
        (),
        inputs.masks[number : number + 1],
        inputs.ignore,
    )


def _together(*parts: Inputs) -> Inputs:
    return replace(
        parts[-1],
        scenes=tuple(scene for each in parts for scene in each.scenes),
        arrays=tuple(array for each in parts for array in each.arrays),
        masks=tuple(masks for each in parts for masks in each.masks),
    )


def calm(inputs: Inputs) -> list[Inputs]:
    """Earlier pairs of the place, taken for calm, those most like the job's first."""
    *earlier, after = (alone(inputs, number) for number in range(len(inputs.scenes)))
    if isinstance(inputs, Stack):
        likest = sorted(range(len(earlier)), key=lambda number: _unlike(earlier[number], after))
        return [_foretelling(inputs, earlier, last) for last in likest]
    (before,) = earlier
    dates = (*inputs.history, before)
    pairs = alike([_date(each) for each in dates], _date(before), _date(after))
    return [_together(dates[one], dates[two]) for one, two in pairs]


def _foretelling(stack: Stack, earlier: list[Inputs], last: int) -> Stack:
    """One of the earlier dates on top of the others."""
    others = [number for number in range(len(earlier)) if number != last]
    pair = _together(*(earlier[number] for number in others), earlier[last])
    return Stack(**vars(pair), levels=tuple(stack.levels[number] for number in others))


def _date(scene: Inputs) -> date | None:
    return acquired(scene.scenes[0].scene)


def _unlike(earlier: Inputs, after: Inputs) -> float:
    """Days of season between two scenes; all alike where a date is unknown."""
    then, now = _date(earlier), _date(after)
    return 0.0 if then is None or now is None else season_apart(then, now)


def calibrated(
    inputs: Inputs,
    detector: Detector,
    family: DetectorFamily,
    estimate: Estimate,
    options: FitOptions,
) -> Calibration:
    """The estimate, made good by what the detector says of earlier pairs of the place.

    Stays the estimate where no two earlier dates share enough valid pixels.
    """
    history: list[Earlier] = []
    wanted = FORECASTS if isinstance(inputs, Stack) else PAIRS
    step = (options.end - options.start) / wanted
    for pair in calm(inputs):
        start = options.start + step * len(history)
        names = " and ".join(info.scene.label for info in pair.scenes[-2:])
        options.report(Progress("calibrating", start, f"an earlier pair: {names}"))

        def watch(progress: Progress, start: float = start) -> None:
            options.report(
                replace(progress, stage="calibrating", percent=max(progress.percent, start))
            )

        asked = FitOptions(pair.setting, options.seed, watch, start=start, end=start + step)
        sample = sampling.draw(
            pair, halo=family.halo(pair.setting), seed=options.seed, report=watch, share=SHARE
        )
        if sample.pixels < MIN_VALID_PIXELS:
            continue
        fitted = refitted(detector, family, sample, asked)
        scores = sample_scores(fitted, sample)
        own = AsScored(sample.pixels) if fitted.calibrated else calibrate(scores)
        history.append(Earlier(own.surprise(scores), blocks_of(sample)))
        if len(history) == wanted:
            break
    return conformal(estimate, history) if history else estimate


def refitted(
    detector: Detector, family: DetectorFamily, sample: Sample, options: FitOptions
) -> Detector:
    """The same kind of detector on another pair.

    What was chosen by the data is kept: two calm dates would choose otherwise than two
    with a change between them, and scores of different views do not compare.
    """
    if not isinstance(detector, FusedChange):
        return family.fit(sample, options)
    dates = fit_dates(sample, options.setting.log)
    evidence = tuple(_again(each, sample, dates, options) for each in detector.evidence)
    return FusedChange(dates, evidence, detector.choice)


def _again(evidence: Evidence, sample: Sample, dates: Dates, options: FitOptions) -> Evidence:
    near = sample.cropped(evidence.halo)
    view = _view_again(evidence.view, near, dates, options)
    return candidate(view, evidence.smoothing, near, dates).evidence(evidence.weight)


def _view_again(view: View, sample: Sample, dates: Dates, options: FitOptions) -> View:
    if isinstance(view, PredictionView):
        network = view.forward.network is not None
        return fit_prediction(sample, dates, options, network=network)
    if isinstance(view, FeatureView):
        pairs = windows(sample, dates)
        return fit_features(sample, pairs, view.bands, view.blocks, options.seed)
    assert isinstance(view, DifferenceView)
    return log_ratio_view(dates) if view.order == 1 else band_difference(dates)
