"""How well scores put anomalous pixels before normal ones: every measure from two sorted arrays.

Precision and recall change only where an anomalous pixel is passed, so nothing but the
scores themselves is kept for the normal ones: memory stays near four bytes a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

CURVE_POINTS = 2000

Scores = NDArray[np.floating[Any]]
Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Operation:
    """What a threshold does: a pixel is called anomalous where score >= threshold.

    false_alarm_rate: share of normal pixels called anomalous. Precision is 0 where
    nothing is called anomalous. tn, fp, fn, tp: pixels.
    """

    threshold: float
    precision: float
    recall: float
    f1: float
    false_alarm_rate: float
    tn: int
    fp: int
    fn: int
    tp: int


@dataclass(frozen=True)
class Curves:
    """Points of the PR and ROC curves, from the highest threshold to the lowest.

    All (n,) float64, n at most `CURVE_POINTS`: a picture needs no more.
    """

    threshold: Shares
    precision: Shares
    recall: Shares
    false_alarm_rate: Shares


@dataclass(frozen=True)
class Ranking:
    """Scores of the anomalous (p,) and of the normal pixels (n,), each sorted upwards.

    Both must have pixels. Equal scores are called together.
    """

    anomalous: Scores
    normal: Scores

    @classmethod
    def of(cls, anomalous: Scores, normal: Scores) -> Ranking:
        """Sorts both arrays in place."""
        anomalous.sort()
        normal.sort()
        return cls(anomalous, normal)

    @cached_property
    def _stops(self) -> tuple[Scores, NDArray[np.intp], NDArray[np.intp]]:
        """Distinct scores of anomalous pixels, downwards, with tp and fp from there upwards."""
        thresholds = np.unique(self.anomalous)[::-1]
        return thresholds, *self._called(thresholds)

    def _called(self, thresholds: Scores) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        tp = self.anomalous.size - np.searchsorted(self.anomalous, thresholds)
        fp = self.normal.size - np.searchsorted(self.normal, thresholds)
        return tp, fp

    @property
    def average_precision(self) -> float:
        """The step-wise area under the PR curve, as scikit-learn defines it."""
        _, tp, fp = self._stops
        return float((np.diff(tp, prepend=0) * (tp / (tp + fp))).sum() / self.anomalous.size)

    @property
    def roc_auc(self) -> float:
        """Mann and Whitney's statistic: ties count half."""
        below = np.searchsorted(self.normal, self.anomalous, side="left").mean()
        up_to = np.searchsorted(self.normal, self.anomalous, side="right").mean()
        return float((below + up_to) / (2 * self.normal.size))

    def recall_at(self, rate: float) -> float:
        """The best recall of any threshold with at most this false-alarm rate."""
        _, tp, fp = self._stops
        last = int(np.searchsorted(fp / self.normal.size, rate, side="right")) - 1
        return float(tp[last] / self.anomalous.size) if last >= 0 else 0.0

    def at(self, threshold: float) -> Operation:
        tp, fp = (int(count[0]) for count in self._called(self.limit(threshold)[None]))
        positives, negatives = self.anomalous.size, self.normal.size
        return Operation(
            threshold=float(threshold),
            precision=tp / (tp + fp) if tp + fp else 0.0,
            recall=tp / positives,
            f1=2 * tp / (tp + fp + positives),
            false_alarm_rate=fp / negatives,
            tn=negatives - fp,
            fp=fp,
            fn=positives - tp,
            tp=tp,
        )

    def limit(self, threshold: float) -> Scores:
        """The threshold in the scores' own precision, () array.

        A float64 threshold just above a float32 score must not lose the pixels that
        have exactly that score.
        """
        return np.asarray(threshold, dtype=self.anomalous.dtype)

    def best_f1(self) -> Operation:
        thresholds, tp, fp = self._stops
        best = int(np.argmax(2 * tp / (tp + fp + self.anomalous.size)))
        return self.at(float(thresholds[best]))

    def marks(self, count: int) -> Scores:
        """At most `count` distinct scores upwards that tell much of both curves.

        Half are even in recall; half lie at false-alarm rates in geometric steps, since
        the part that matters is at the low end.
        """
        rank = np.linspace(0, self.anomalous.size - 1, count // 2).astype(np.intp)
        from_top = np.geomspace(1, self.normal.size, count - count // 2).astype(np.intp)
        chosen = (self.anomalous[rank], self.normal[self.normal.size - from_top])
        return np.asarray(np.unique(np.concatenate(chosen)))

    def curves(self) -> Curves:
        thresholds = self.marks(CURVE_POINTS)[::-1]
        tp, fp = self._called(thresholds)
        return Curves(
            thresholds.astype(np.float64),
            tp / (tp + fp),
            tp / self.anomalous.size,
            fp / self.normal.size,
        )
