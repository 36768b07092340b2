"""PR and ROC curves as one picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geoanomaly.evaluation.evaluate import Evaluation
from geoanomaly.evaluation.ranking import Operation

_LOWEST = 1e-4
_COLOURS = ("#0b6e99", "#d1495b", "#66a182", "#8d5a97", "#c98a1b", "#4a4e69")
_INK = "#333333"


def draw_curves(evaluations: Evaluation | Mapping[str, Evaluation], path: Path) -> Path:
    """Write a PNG with the PR curves on the left and the ROC curves on the right.

    evaluations: one, or several by name to compare on the same labels. The dashed
    lines are what a random score reaches; a disc is the shipped threshold, a ring
    the oracle's (best F1, which only the labels reveal). The ROC axis of false
    alarms is logarithmic: the part that matters is below 1 %.
    """
    # Imported late: matplotlib costs half a second that no other command should pay.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    named = {"": evaluations} if isinstance(evaluations, Evaluation) else dict(evaluations)
    figure = Figure(figsize=(10.5, 5.6), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    precision_recall, roc = figure.subplots(1, 2)
    for colour, (name, evaluation) in zip(_COLOURS * len(named), named.items(), strict=False):
        _draw_precision_recall(precision_recall, name, evaluation, colour)
        _draw_roc(roc, name, evaluation, colour)
    prevalence = next(iter(named.values())).prevalence
    _finish_precision_recall(precision_recall, prevalence)
    _finish_roc(roc)
    figure.savefig(path, metadata={"Software": None})
    return path


def _draw_precision_recall(axes: Any, name: str, evaluation: Evaluation, colour: str) -> None:
    curves = evaluation.curves
    label = f"{name}  AP {evaluation.average_precision:.3f}".strip()
    axes.plot(
        [0, *curves.recall],
        [curves.precision[0], *curves.precision],
        color=colour,
        lw=1.8,
        label=label,
        drawstyle="steps-pre",
    )
    for operation, style in _points(evaluation, colour):
        axes.plot([operation.recall], [operation.precision], **style)


def _draw_roc(axes: Any, name: str, evaluation: Evaluation, colour: str) -> None:
    curves = evaluation.curves
    label = f"{name}  AUC {evaluation.roc_auc:.3f}".strip()
    axes.plot(curves.false_alarm_rate, curves.recall, color=colour, lw=1.8, label=label)
    for operation, style in _points(evaluation, colour):
        # A rate of 0 has no place on a log axis: such a point is put on its left edge.
        axes.plot([max(operation.false_alarm_rate, _LOWEST)], [operation.recall], **style)


def _points(evaluation: Evaluation, colour: str) -> list[tuple[Operation, dict[str, Any]]]:
    """The marked thresholds and how they look."""
    shared = {"color": colour, "ls": "none", "ms": 8, "clip_on": False, "zorder": 5}
    found: list[tuple[Operation, dict[str, Any]]] = []
    if evaluation.shipped is not None:
        at = f"shipped at {evaluation.shipped.threshold:.3g}"
        found.append((evaluation.shipped, {**shared, "marker": "o", "label": at}))
    oracle = evaluation.oracle_best_f1
    at = f"best F1 {oracle.f1:.3f} (oracle)"
    found.append((oracle, {**shared, "marker": "o", "mfc": "white", "mew": 1.8, "label": at}))
    return found


def _finish_precision_recall(axes: Any, prevalence: float) -> None:
    label = f"random: prevalence {prevalence:.3f}"
    axes.axhline(prevalence, color=_INK, lw=1, ls="--", label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="recall", ylabel="precision")
    _tidy(axes, "Precision and recall")


def _finish_roc(axes: Any) -> None:
    rates = [_LOWEST * 10 ** (step / 20) for step in range(81)]
    axes.plot(rates, rates, color=_INK, lw=1, ls="--", label="random")
    axes.set(xscale="log", xlim=(_LOWEST, 1), ylim=(0, 1.01))
    axes.set(xlabel="false-alarm rate (share of normal pixels)", ylabel="recall")
    _tidy(axes, "ROC, false alarms on a log scale")


def _tidy(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=_INK)
    axes.grid(color="#e5e5e5", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_INK)
    # Below the axes: inside them it would hide a curve whenever there are several.
    axes.legend(
        frameon=False, fontsize=8.5, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.13)
    )
