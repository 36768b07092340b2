"""Why a place stands out, in bands and indices, measured against what is usual in its scenes.

No detector is asked: this is the spectral reading that an analyst would make by hand.
With two dates it is about what moved, with one about how the place differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoanomaly.results.indices import indices
from geoanomaly.scenes.inputs import Inputs
from tiling.source import read_padded

SAMPLE_WINDOWS, SAMPLE_SIDE = 5, 96
"""The usual is read from 5 x 5 windows of 96 px, whatever the size of the scenes."""

REACH = 512
"""Pixels of a region farther than this from its highest pixel are not read."""

TOLD = 3
CLEAR = 2.0
"""Spreads from the usual below which nothing is said to have moved."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Usual:
    """Of every quantity (bands, then indices): its usual move or value, and their spread.

    middle, spread (quantity,): median and 1.4826 median absolute deviations of the change
        between the dates, or of the value in one scene.
    low, high (date, band): the 16 % and 84 % quantiles of each band.
    """

    middle: Values
    spread: Values
    low: Values
    high: Values


def usual(inputs: Inputs) -> Usual:
    """From windows on a regular grid over the job's area."""
    rows, cols = inputs.clip.rows, inputs.clip.cols
    sample = [
        _quantities(inputs, slice(row, row + height), slice(col, col + width))
        for row, height in _starts(rows)
        for col, width in _starts(cols)
    ]
    values = np.concatenate([each.reshape(*each.shape[:2], -1) for each in sample], axis=2)
    moves = values[-1] - values[0] if len(values) > 1 else values[0]
    count = len(inputs.scenes[0].band_names)
    with np.errstate(all="ignore"):
        middle = _quantile(moves, 0.5)
        spread = 1.4826 * _quantile(np.abs(moves - middle[:, None]), 0.5)
        low, high = (np.stack([_quantile(v[:count], q) for v in values]) for q in (0.16, 0.84))
    return Usual(middle, np.maximum(spread, 1e-9), low, high)


def _starts(span: slice) -> list[tuple[int, int]]:
    """Start and length of evenly spread windows."""
    size = min(SAMPLE_SIDE, span.stop - span.start)
    steps = np.linspace(span.start, span.stop - size, SAMPLE_WINDOWS).round().astype(int)
    return [(int(step), size) for step in np.unique(steps)]


def _quantile(values: Values, share: float) -> Values:
    """Along the last axis, without NaN; NaN where there is nothing else."""
    found = [row[np.isfinite(row)] for row in values]
    return np.array([np.quantile(row, share) if row.size else np.nan for row in found])


def _quantities(inputs: Inputs, rows: slice, cols: slice) -> Values:
    """Bands and indices of each date in a window of the scene's grid, (date, quantity, y, x)."""
    dates = []
    for array, info in zip(inputs.arrays, inputs.scenes, strict=True):
        data = read_padded(array, rows, cols).astype(np.float64)
        if info.sensor.log:
            # Decibels are what people read radar in.
            data = 10 * np.log10(np.where(data > 0, data, np.nan))
        dates.append(np.concatenate([data, indices(data, info.band_names)[1]]))
    return np.stack(dates)


def readable(inputs: Inputs) -> Inputs:
    """The same, or the last date alone where the dates have other bands: no difference then."""
    if len({(info.band_names, info.sensor.name) for info in inputs.scenes}) == 1:
        return inputs
    last = slice(-1, None)
    return replace(
        inputs, scenes=inputs.scenes[last], arrays=inputs.arrays[last], masks=inputs.masks[last]
    )


@dataclass(frozen=True)
class Move:
    """One band or index at a place. deviation: in usual spreads, with sign.

    before: None with one date.
    """

    name: str
    tells: str
    before: float | None
    after: float
    deviation: float


@dataclass(frozen=True)
class Reading:
    """The spectra of a place and what stands out in them, the most unusual first.

    spectra (date, band); unit: of the values.
    """

    bands: tuple[str, ...]
    spectra: Values
    moves: tuple[Move, ...]


def read_place(
    inputs: Inputs, normal: Usual, rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> Reading:
    """Means over the pixels of a place, given on the heatmap's grid, the highest pixel first."""
    near = (np.abs(rows - rows[0]) <= REACH) & (np.abs(cols - cols[0]) <= REACH)
    rows, cols = rows[near] + inputs.clip.rows.start, cols[near] + inputs.clip.cols.start
    top, left = int(rows.min()), int(cols.min())
    window = slice(top, int(rows.max()) + 1), slice(left, int(cols.max()) + 1)
    values = _quantities(inputs, *window)[:, :, rows - top, cols - left]
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        means = np.where(known, values, 0).sum(axis=2) / known.sum(axis=2)
    info = inputs.scenes[-1]
    kinds, _ = indices(values[-1], info.band_names)
    moved = means[-1] - means[0] if len(means) > 1 else means[0]
    deviation = (moved - normal.middle) / normal.spread
    names = [(name, "") for name in info.band_names] + [(k.name, k.tells) for k in kinds]
    moves = [
        Move(
            name,
            tells,
            float(means[0][i]) if len(means) > 1 else None,
            float(means[-1][i]),
            float(deviation[i]),
        )
        for i, (name, tells) in enumerate(names)
        if np.isfinite(deviation[i])
    ]
    moves.sort(key=lambda move: -abs(move.deviation))
    return Reading(info.band_names, means[:, : len(info.band_names)], tuple(moves))


def sentence(moves: Sequence[Move]) -> str:
    """What stands out most, for people."""
    told = [move for move in moves[:TOLD] if abs(move.deviation) >= CLEAR]
    if not told:
        return "No single band or index stands out; it is their combination."
    return "; ".join(_clause(move) for move in told) + "."


def _clause(move: Move) -> str:
    of = f" ({move.tells})" if move.tells else ""
    times = f"{abs(move.deviation):.1f}"
    if move.before is None:
        side = "above" if move.deviation > 0 else "below"
        return f"{move.name}{of} {move.after:.3g}, {times} spreads {side} the usual"
    verb = "rose" if move.after >= move.before else "fell"
    return (
        f"{move.name}{of} {verb} from {move.before:.3g} to {move.after:.3g}, "
        f"{times} spreads from the usual change"
    )


def to_json(reading: Reading, normal: Usual) -> dict[str, Any]:
    """Numbers that are not known are null."""
    names = ("before", "after") if len(reading.spectra) > 1 else ("after",)
    return {
        "bands": list(reading.bands),
        "spectra": {n: _plain(v) for n, v in zip(names, reading.spectra, strict=True)},
        "usual": {"low": _plain(normal.low[-1]), "high": _plain(normal.high[-1])},
        "moves": [vars(move) for move in reading.moves[:TOLD]],
        "reason": sentence(reading.moves),
    }


def _plain(values: Values) -> list[float | None]:
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values]
