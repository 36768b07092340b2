"""How far the figures would move on other ground of the same kind: a spatial-block bootstrap.

Neighbouring pixels are no independent witnesses, so whole square blocks are drawn with
replacement (Lahiri, Resampling Methods for Dependent Data, 2003, ch. 12). Only labelled
pixels count; blocks without any do not take part. Each block is kept as one histogram of
its anomalous and one of its normal scores, so that a resample is a weighted sum of rows
and not another sort: half a second for a megapixel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoanomaly.errors import ParameterError
from geoanomaly.evaluation.ranking import Ranking, Scores

CONFIDENCE = 0.95
RESAMPLES = 500
MIN_ANOMALOUS_BLOCKS = 5
MAX_BLOCKS = 4096

_BINS = 1024
_SIDES = 16
_SMALLEST = 8

Mask = NDArray[np.bool_]
Draws = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """The middle 95 % of the resamples."""

    low: float
    high: float


@dataclass(frozen=True)
class Intervals:
    """Of each measure; f1 is that at the shipped threshold, None without one.

    block: pixels a side; blocks: how many have labelled pixels; anomalous_blocks: of
    these, how many have anomalous ones. The intervals are too narrow where these are few,
    or where anomalies are much larger than a block.
    """

    confidence: float
    block: int
    blocks: int
    anomalous_blocks: int
    average_precision: Interval
    roc_auc: Interval
    recall_at_1pct_false_alarms: Interval
    f1: Interval | None


@dataclass(frozen=True)
class Resampled:
    """Each measure in each resample, (resamples,); equal blocks of equal labels draw alike."""

    block: int
    blocks: int
    anomalous_blocks: int
    average_precision: Draws
    roc_auc: Draws
    recall_at_1pct_false_alarms: Draws
    f1: Draws | None

    def intervals(self) -> Intervals:
        return Intervals(
            CONFIDENCE,
            self.block,
            self.blocks,
            self.anomalous_blocks,
            interval(self.average_precision),
            interval(self.roc_auc),
            interval(self.recall_at_1pct_false_alarms),
            None if self.f1 is None else interval(self.f1),
        )


def interval(draws: Draws) -> Interval:
    edge = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, (edge, 1 - edge))
    return Interval(float(low), float(high))


def default_block(shape: tuple[int, ...]) -> int:
    """Side of a block in pixels: about 256 of them cover the heatmap, and none is below 8 px."""
    return max(_SMALLEST, math.ceil(math.sqrt(math.prod(shape)) / _SIDES))


def resample(
    score: Scores,
    anomalous: Mask,
    normal: Mask,
    ranking: Ranking,
    *,
    threshold: float | None,
    block: int | None = None,
    seed: int = 0,
) -> Resampled | None:
    """Measures of `RESAMPLES` draws of blocks; None with fewer than 5 blocks that have anomalies.

    score, anomalous, normal: (y, x); the masks say where a label and a score are.
    ranking: of the same pixels. block: pixels a side, see `default_block`.
    """
    side = default_block(score.shape) if block is None else block
    _require_few(score.shape, side)
    marks, first = ranking.marks(_BINS), None
    if threshold is not None:
        marks = np.union1d(marks, ranking.limit(threshold))
        first = int(np.searchsorted(marks, ranking.limit(threshold))) + 1
    blocks = _histograms(score, anomalous, normal, marks, side)
    blocks = blocks[blocks.any(axis=(1, 2))]
    with_anomalies = int(blocks[:, 0].any(axis=1).sum())
    if with_anomalies < MIN_ANOMALOUS_BLOCKS:
        return None
    draws = _measure(_draw(blocks, np.random.default_rng(seed)), first)
    # Bins blur what is measured, alike in all draws: the exact figures tell by how much.
    blurred = _measure(blocks.sum(axis=0, dtype=np.float64)[None], first)
    exact = [ranking.average_precision, ranking.roc_auc, ranking.recall_at(0.01)]
    if threshold is not None:
        exact.append(ranking.at(threshold).f1)
    centred = np.clip(draws + (np.array(exact)[:, None] - blurred), 0, 1)
    precision, auc, recall = centred[:3]
    f1 = None if threshold is None else centred[3]
    return Resampled(side, len(blocks), with_anomalies, precision, auc, recall, f1)


def _require_few(shape: tuple[int, ...], side: int) -> None:
    blocks = math.prod(math.ceil(length / side) for length in shape)
    if blocks > MAX_BLOCKS:
        raise ParameterError(
            f"Blocks of {side} px cut the heatmap into {blocks:,}, the limit is {MAX_BLOCKS:,}. "
            f"The default is {default_block(shape)} px.",
            field="block",
        )


def _draw(blocks: NDArray[np.int64], generator: np.random.Generator) -> Draws:
    """Sums of blocks drawn with replacement, (draws, 2, bins); those without a kind are left out.

    Where anomalies are in few blocks, a draw may miss them all, and then measures nothing.
    """
    even = np.full(len(blocks), 1 / len(blocks))
    weights = generator.multinomial(len(blocks), even, size=RESAMPLES)
    totals = np.tensordot(weights.astype(np.float64), blocks.astype(np.float64), 1)
    return np.asarray(totals[(totals.sum(axis=2) > 0).all(axis=1)])


def _histograms(
    score: Scores, anomalous: Mask, normal: Mask, marks: Scores, side: int
) -> NDArray[np.int64]:
    """Pixels of each block, by kind (anomalous, normal) and bin: (blocks, 2, bins).

    Bin k holds marks[k - 1] <= score < marks[k]. One row of blocks at a time: the whole
    heatmap's bin numbers would be larger than the heatmap.
    """
    return np.concatenate(
        [
            np.stack([_row(score[rows], kind[rows], marks, side) for kind in (anomalous, normal)])
            for rows in _stripes(score.shape[0], side)
        ],
        axis=1,
    ).transpose(1, 0, 2)


def _stripes(height: int, side: int) -> Iterator[slice]:
    return (slice(top, top + side) for top in range(0, height, side))


def _row(score: Scores, kind: Mask, marks: Scores, side: int) -> NDArray[np.int64]:
    columns = math.ceil(score.shape[1] / side)
    bins = marks.size + 1
    place = np.searchsorted(marks, score[kind], side="right")
    place += bins * (np.nonzero(kind)[1] // side)
    return np.bincount(place, minlength=columns * bins).reshape(columns, bins)


def _measure(totals: Draws, first: int | None) -> Draws:
    """AP, AUC, recall at 1 % false alarms and F1, (4, draws), of (draws, 2, bins) pixel counts.

    first: the bin at which the threshold begins; None = no F1, (3, draws).
    """
    tp, fp = np.moveaxis(np.cumsum(totals[:, :, ::-1], axis=2), 1, 0)
    hits, alarms = np.moveaxis(totals[:, :, ::-1], 1, 0)
    positives, negatives = tp[:, -1], fp[:, -1]
    precision = np.divide(tp, tp + fp, out=np.zeros_like(tp), where=tp + fp > 0)
    allowed = np.where(fp <= 0.01 * negatives[:, None], tp, 0)
    measures = [
        (hits * precision).sum(axis=1) / positives,
        (alarms * (tp - hits / 2)).sum(axis=1) / (positives * negatives),
        allowed.max(axis=1) / positives,
    ]
    if first is not None:
        called = totals[:, :, first:].sum(axis=2)
        measures.append(2 * called[:, 0] / (called.sum(axis=1) + positives))
    return np.stack(measures)
