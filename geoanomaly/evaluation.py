"""How good a heatmap is against labels: ranking measures first, then what the mask does.

Anomalies are rare, so average precision is only readable beside the prevalence
(what a random ranking would reach), and accuracy is not reported at all. Everything
comes from one sort of the labelled pixels. No torch here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoanomaly.errors import SceneError

ANOMALOUS = 1
NORMAL = 0
CURVE_POINTS = 2000

FloatMap = NDArray[np.floating[Any]]
LabelMap = NDArray[np.integer[Any]]


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

    All (n,) float64, n at most `CURVE_POINTS` or so: a picture needs no more.
    """

    threshold: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    false_alarm_rate: NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """A score against labels.

    n_labelled: pixels with a label and a score; n_no_score: labelled pixels left out
    because the score is NaN; prevalence: share of anomalous among the labelled, the
    average precision of a random score. recall_at_*: recall at the lowest threshold
    that raises false alarms on no more than 1 % or 5 % of the normal pixels.
    shipped: at the threshold that the heatmap was published with; None = no threshold.
    oracle_best_f1: at the threshold of the best F1, which only the labels reveal: no
    user can reach it on purpose.
    """

    n_labelled: int
    n_no_score: int
    prevalence: float
    average_precision: float
    roc_auc: float
    recall_at_1pct_false_alarms: float
    recall_at_5pct_false_alarms: float
    shipped: Operation | None
    oracle_best_f1: Operation
    curves: Curves = field(compare=False, repr=False)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the curves."""
        keys = [key for key in self.__dataclass_fields__ if key != "curves"]
        values = {key: getattr(self, key) for key in keys}
        values["shipped"] = None if self.shipped is None else asdict(self.shipped)
        values["oracle_best_f1"] = asdict(self.oracle_best_f1)
        values["notes"] = list(self.notes)
        return values

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2)

    def as_table(self) -> str:
        """Lines for a terminal, average precision and prevalence first."""
        lines = [
            f"average precision     {self.average_precision:8.4f}",
            f"prevalence            {self.prevalence:8.4f}   (what a random score would reach)",
            f"ROC AUC               {self.roc_auc:8.4f}",
            f"recall at 1 % f.a.    {self.recall_at_1pct_false_alarms:8.4f}",
            f"recall at 5 % f.a.    {self.recall_at_5pct_false_alarms:8.4f}",
            f"labelled pixels       {self.n_labelled:8d}   "
            f"({self.n_no_score} more have no score and are left out)",
            "",
            "threshold               at      precision  recall     F1  f.a.rate  "
            "      tn       fp       fn       tp",
        ]
        if self.shipped is not None:
            lines.append(_row("shipped", self.shipped))
        lines.append(_row("best F1 (oracle)", self.oracle_best_f1))
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def evaluate(
    score: FloatMap,
    label: LabelMap,
    *,
    threshold: float | None = None,
    notes: tuple[str, ...] = (),
) -> Evaluation:
    """Judge `score` (y, x), NaN = nodata, by `label` (y, x).

    label: 1 anomalous, 0 normal, anything else unlabelled. threshold: the one that the
    heatmap was published with, in units of the score. Raises SceneError (field "label")
    when the shapes differ, or when no pixel, or only one kind of pixel, is both labelled
    and scored. Sorts the labelled pixels once.
    """
    if score.shape != label.shape:
        raise SceneError(
            f"The label has shape {label.shape} and the heatmap {score.shape}; they must be equal.",
            field="label",
        )
    labelled = (label == ANOMALOUS) | (label == NORMAL)
    scored = labelled & ~np.isnan(score)
    values = score[scored]
    anomalous = label[scored] == ANOMALOUS
    left_out = int(labelled.sum()) - values.size
    _require_both_kinds(anomalous, left_out)
    counts = _count(values, anomalous)
    oracle = int(np.argmax(counts.f1))
    return Evaluation(
        n_labelled=int(values.size),
        n_no_score=left_out,
        prevalence=float(anomalous.mean()),
        average_precision=counts.average_precision,
        roc_auc=counts.roc_auc,
        recall_at_1pct_false_alarms=counts.recall_at(0.01),
        recall_at_5pct_false_alarms=counts.recall_at(0.05),
        shipped=None if threshold is None else counts.at(threshold),
        oracle_best_f1=counts.at(float(counts.threshold[oracle])),
        curves=counts.curves(),
        notes=notes,
    )


@dataclass(frozen=True)
class _Counts:
    """Cumulative counts for each distinct score, from the highest down.

    tp, fp: (n,) pixels with a score of at least threshold (n,).
    """

    threshold: FloatMap
    tp: NDArray[np.int64]
    fp: NDArray[np.int64]

    @property
    def positives(self) -> int:
        return int(self.tp[-1])

    @property
    def negatives(self) -> int:
        return int(self.fp[-1])

    @property
    def precision(self) -> NDArray[np.float64]:
        return np.asarray(self.tp / (self.tp + self.fp), dtype=np.float64)

    @property
    def recall(self) -> NDArray[np.float64]:
        return np.asarray(self.tp / self.positives, dtype=np.float64)

    @property
    def false_alarm_rate(self) -> NDArray[np.float64]:
        return np.asarray(self.fp / self.negatives, dtype=np.float64)

    @property
    def f1(self) -> NDArray[np.float64]:
        return np.asarray(2 * self.tp / (self.tp + self.fp + self.positives), dtype=np.float64)

    @property
    def average_precision(self) -> float:
        """The step-wise area under the PR curve, as scikit-learn defines it."""
        return float((np.diff(self.recall, prepend=0.0) * self.precision).sum())

    @property
    def roc_auc(self) -> float:
        recall = np.concatenate([[0.0], self.recall])
        return float(np.trapezoid(recall, np.concatenate([[0.0], self.false_alarm_rate])))

    def recall_at(self, rate: float) -> float:
        """The best recall of any threshold with at most this false-alarm rate."""
        last = int(np.searchsorted(self.false_alarm_rate, rate, side="right")) - 1
        return float(self.recall[last]) if last >= 0 else 0.0

    def at(self, threshold: float) -> Operation:
        # Compared in the score's own precision: a float64 threshold just above a
        # float32 score must not lose the pixels that have exactly that score.
        limit = self.threshold.dtype.type(threshold)
        last = int(np.searchsorted(-self.threshold, -limit, side="right")) - 1
        tp, fp = (int(self.tp[last]), int(self.fp[last])) if last >= 0 else (0, 0)
        return Operation(
            threshold=float(threshold),
            precision=tp / (tp + fp) if tp + fp else 0.0,
            recall=tp / self.positives,
            f1=2 * tp / (tp + fp + self.positives),
            false_alarm_rate=fp / self.negatives,
            tn=self.negatives - fp,
            fp=fp,
            fn=self.positives - tp,
            tp=tp,
        )

    def curves(self) -> Curves:
        """At most about `CURVE_POINTS` points, even along the recall and the false alarms."""
        travelled = self.recall + self.false_alarm_rate
        stops = np.searchsorted(travelled, np.linspace(0, 2, CURVE_POINTS))
        keep = np.unique(np.clip([0, *stops], 0, self.tp.size - 1))
        return Curves(
            self.threshold[keep].astype(np.float64),
            self.precision[keep],
            self.recall[keep],
            self.false_alarm_rate[keep],
        )


def _count(values: FloatMap, anomalous: NDArray[np.bool_]) -> _Counts:
    order = np.argsort(-values, kind="stable")
    ranked, hits = values[order], np.cumsum(anomalous[order], dtype=np.int64)
    # The last pixel of each run of equal scores: ties are called together.
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), ranked.size - 1)
    return _Counts(ranked[last], hits[last], last + 1 - hits[last])


def _require_both_kinds(anomalous: NDArray[np.bool_], left_out: int) -> None:
    positives = int(anomalous.sum())
    negatives = anomalous.size - positives
    if positives and negatives:
        return
    raise SceneError(
        f"The label has {positives} anomalous (1) and {negatives} normal (0) pixels where the "
        f"heatmap has a score, and {left_out} labelled pixels where it has none; "
        "both kinds are needed. Check the label's values and its nodata value.",
        field="label",
    )


def _row(name: str, operation: Operation) -> str:
    o = operation
    return (
        f"{name:18s} {o.threshold:9.4g} {o.precision:13.4f} {o.recall:7.4f} {o.f1:6.4f} "
        f"{o.false_alarm_rate:9.5f} {o.tn:8d} {o.fp:8d} {o.fn:8d} {o.tp:8d}"
    )


def evaluate_files(heatmap: Path, label: Path, *, threshold: float | None = None) -> Evaluation:
    """Judge heatmap.tif by a label raster or by polygons; see `label_files` for what those may be.

    threshold: surprise; None = the one the heatmap was published with, or 2 where it
    does not say. Raises SceneError with field "heatmap" or "label".
    """
    # Imported late: whoever judges arrays needs no GDAL.
    from geoanomaly import label_files

    scores = label_files.read_heatmap(heatmap)
    labels = label_files.read_labels(label, scores)
    limit, source = label_files.published_threshold(heatmap)
    notes = labels.notes if threshold is not None else (*labels.notes, source)
    return evaluate(
        scores.values,
        labels.values,
        threshold=limit if threshold is None else threshold,
        notes=notes,
    )
