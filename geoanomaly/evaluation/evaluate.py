"""How good a heatmap is against labels: ranking measures first, then what the mask does.

Anomalies are rare, so average precision is only readable beside the prevalence
(what a random ranking would reach), and accuracy is not reported at all. `ranking` has
the measures, `objects` those of whole objects, `bootstrap` the intervals. No torch here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoanomaly.errors import SceneError
from geoanomaly.evaluation.bootstrap import (
    CONFIDENCE,
    MIN_ANOMALOUS_BLOCKS,
    Interval,
    Intervals,
    Resampled,
)
from geoanomaly.evaluation.bootstrap import resample as resample_blocks
from geoanomaly.evaluation.objects import MIN_OBJECT, Match, Objects, match_objects
from geoanomaly.evaluation.ranking import Curves, Operation, Ranking

ANOMALOUS = 1
NORMAL = 0

FloatMap = NDArray[np.floating[Any]]
LabelMap = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Evaluation:
    """A score against labels.

    n_labelled: pixels with a label and a score; n_no_score: labelled pixels left out
    because the score is NaN; prevalence: share of anomalous among the labelled, the
    average precision of a random score. recall_at_*: recall at the lowest threshold
    that raises false alarms on no more than 1 % or 5 % of the normal pixels.
    shipped, objects: at the threshold that the heatmap was published with; None = no
    threshold. oracle_best_f1: at the threshold of the best F1, which only the labels
    reveal: no user can reach it on purpose.
    resampled: by blocks; None where too few blocks have anomalies.
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
    objects: Objects | None
    curves: Curves = field(compare=False, repr=False)
    resampled: Resampled | None = field(compare=False, repr=False)
    notes: tuple[str, ...] = ()

    @property
    def intervals(self) -> Intervals | None:
        return None if self.resampled is None else self.resampled.intervals()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the curves and the resamples."""
        hidden = ("curves", "resampled")
        keys = [key for key in self.__dataclass_fields__ if key not in hidden]
        values = {key: getattr(self, key) for key in keys}
        values["intervals"] = self.intervals
        for key in ("shipped", "oracle_best_f1", "objects", "intervals"):
            values[key] = None if values[key] is None else asdict(values[key])
        values["notes"] = list(self.notes)
        return values

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2)

    def as_table(self) -> str:
        """Lines for a terminal, average precision and prevalence first."""
        spread = self.intervals
        spans = [""] * 3
        if spread is not None:
            each = (spread.average_precision, spread.roc_auc, spread.recall_at_1pct_false_alarms)
            spans = [_range(span) for span in each]
        lines = [
            f"average precision     {self.average_precision:8.4f}{spans[0]}",
            f"prevalence            {self.prevalence:8.4f}   (what a random score would reach)",
            f"ROC AUC               {self.roc_auc:8.4f}{spans[1]}",
            f"recall at 1 % f.a.    {self.recall_at_1pct_false_alarms:8.4f}{spans[2]}",
            f"recall at 5 % f.a.    {self.recall_at_5pct_false_alarms:8.4f}",
            f"labelled pixels       {self.n_labelled:8d}   "
            f"({self.n_no_score} more have no score and are left out)",
            "",
            "threshold               at      precision  recall     F1  f.a.rate  "
            "      tn       fp       fn       tp",
        ]
        if self.shipped is not None:
            lines.append(_operation_row("shipped", self.shipped))
        lines.append(_operation_row("best F1 (oracle)", self.oracle_best_f1))
        lines += [] if self.objects is None else ["", *_object_lines(self.objects)]
        lines += ["", _about_intervals(spread)]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def evaluate(
    score: FloatMap,
    label: LabelMap,
    *,
    threshold: float | None = None,
    min_object: int = MIN_OBJECT,
    block: int | None = None,
    notes: tuple[str, ...] = (),
) -> Evaluation:
    """Judge `score` (y, x), NaN = nodata, by `label` (y, x).

    label: 1 anomalous, 0 normal, anything else unlabelled. threshold: the one that the
    heatmap was published with, in units of the score. min_object: smaller objects are
    left out, in pixels. block: side of the bootstrap's blocks in pixels, None = see
    `bootstrap.default_block`. Raises SceneError (field "label") when the shapes differ, or
    when no pixel, or only one kind of pixel, is both labelled and scored. Sorts the
    labelled pixels once; needs about 20 bytes a pixel beside what it is given.
    """
    if score.shape != label.shape:
        raise SceneError(
            f"The label has shape {label.shape} and the heatmap {score.shape}; they must be equal.",
            field="label",
        )
    scored = ~np.isnan(score)
    anomalous, normal = (label == ANOMALOUS), (label == NORMAL)
    n_labelled = int(anomalous.sum()) + int(normal.sum())
    anomalous &= scored
    normal &= scored
    ranking = Ranking.of(score[anomalous], score[normal])
    positives, negatives = ranking.anomalous.size, ranking.normal.size
    left_out = n_labelled - positives - negatives
    _require_both_kinds(positives, negatives, left_out)
    objects = None
    if threshold is not None:
        called = score >= ranking.limit(threshold)  # NaN is never called
        objects = match_objects(anomalous, called, anomalous | normal, min_object)
    return Evaluation(
        n_labelled=positives + negatives,
        n_no_score=left_out,
        prevalence=positives / (positives + negatives),
        average_precision=ranking.average_precision,
        roc_auc=ranking.roc_auc,
        recall_at_1pct_false_alarms=ranking.recall_at(0.01),
        recall_at_5pct_false_alarms=ranking.recall_at(0.05),
        shipped=None if threshold is None else ranking.at(threshold),
        oracle_best_f1=ranking.best_f1(),
        objects=objects,
        curves=ranking.curves(),
        resampled=resample_blocks(
            score, anomalous, normal, ranking, threshold=threshold, block=block
        ),
        notes=notes,
    )


def _require_both_kinds(positives: int, negatives: int, left_out: int) -> None:
    if positives and negatives:
        return
    raise SceneError(
        f"The label has {positives} anomalous (1) and {negatives} normal (0) pixels where the "
        f"heatmap has a score, and {left_out} labelled pixels where it has none; "
        "both kinds are needed. Check the label's values and its nodata value.",
        field="label",
    )


def _range(span: Interval) -> str:
    return f"   [{span.low:.4f}, {span.high:.4f}]"


def _operation_row(name: str, operation: Operation) -> str:
    o = operation
    return (
        f"{name:18s} {o.threshold:9.4g} {o.precision:13.4f} {o.recall:7.4f} {o.f1:6.4f} "
        f"{o.false_alarm_rate:9.5f} {o.tn:8d} {o.fp:8d} {o.fn:8d} {o.tp:8d}"
    )


def _object_lines(objects: Objects) -> list[str]:
    title = f"objects >= {objects.min_object} px"
    return [
        f"{title:28s} precision  recall   right of called   found of labelled",
        _object_row("any overlap", objects.any_overlap, objects),
        _object_row("IoU >= 0.5", objects.iou_half, objects),
    ]


def _object_row(name: str, match: Match, objects: Objects) -> str:
    return (
        f"{name:28s} {_share(match.precision):>9s} {_share(match.recall):>7s} "
        f"{match.right:7d} of {objects.called:<6d} {match.found:8d} of {objects.labelled}"
    )


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.4f}"


def _about_intervals(spread: Intervals | None) -> str:
    if spread is None:
        few = MIN_ANOMALOUS_BLOCKS
        return f"no intervals: fewer than {few} of the bootstrap's blocks have anomalies"
    f1 = f"; F1 at the shipped threshold{_range(spread.f1)}" if spread.f1 else ""
    return (
        f"[..]: {CONFIDENCE:.0%} of draws of {spread.blocks} blocks of {spread.block} px, "
        f"{spread.anomalous_blocks} of them with anomalies{f1}"
    )


def evaluate_files(
    heatmap: Path,
    label: Path,
    *,
    threshold: float | None = None,
    min_object: int = MIN_OBJECT,
    block: int | None = None,
) -> Evaluation:
    """Judge heatmap.tif by a label raster or by polygons; see `label_files` for what those may be.

    threshold: surprise; None = the one the heatmap was published with, or 2 where it
    does not say. Raises SceneError with field "heatmap" or "label".
    """
    # Imported late: whoever judges arrays needs no GDAL.
    from geoanomaly.evaluation import label_files

    scores = label_files.read_heatmap(heatmap)
    labels = label_files.read_labels(label, scores)
    limit, source = label_files.published_threshold(heatmap)
    notes = labels.notes if threshold is not None else (*labels.notes, source)
    return evaluate(
        scores.values,
        labels.values,
        threshold=limit if threshold is None else threshold,
        min_object=min_object,
        block=block,
        notes=notes,
    )
