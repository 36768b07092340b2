"""Markdown tables of the results. In each row the best is bold; the default is the first column."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Any

from benchmarks.collected import (
    Measure,
    Results,
    average_precision,
    default_of,
    detectors_of,
    false_alarm_rate,
    variants_of,
)
from benchmarks.sets import Family, LabelledSet
from geoanomaly.types import Process

NOTHING = "—"
_SEEDS_DIFFER = 0.0015
_LOSS = 0.0005
_SECONDS_HEAD = (
    *("detector", "fitting, mean", "fitting, longest", "scoring, per Mpx"),
    "processor, whole job, mean",
)
_MASK_HEAD = (
    *("set", "precision", "recall", "F1", "best F1 (oracle)"),
    *("objects found", "polygons right", "found, IoU ≥ 0.5", "right, IoU ≥ 0.5"),
)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    ruler = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ruler, *rows)) + "\n"


def ranking_table(
    results: Results, family: Family, measure: Measure, names: Sequence[str], *, interval: str
) -> str:
    """A row a set: prevalence, the figures, and what the default loses by.

    names: of detectors, the default first; interval: the key of the measure in
    `Evaluation.intervals`.
    """
    head = ["set", "anomalous", names[0] + " (default)", "95 %", *names[1:], "loses by"]
    sets = results.family(family)
    rows = [_ranking_row(results, each, measure, names, interval) for each in sets]
    if len(sets) > 1:
        rows += [_summary_row("mean", results, sets, measure, names, fmean)]
        rows += [_summary_row("worst", results, sets, measure, names, min)]
    return markdown(head, rows)


def _ranking_row(
    results: Results, each: LabelledSet, measure: Measure, names: Sequence[str], interval: str
) -> list[str]:
    means = [results.mean(each.name, name, measure) for name in names]
    best = _best(means)
    cells = [
        _marked(mean, best, _spread(results.values(each.name, name, measure)))
        for name, mean in zip(names, means, strict=True)
    ]
    runs = results.of(each.name, names[0])
    span = (runs[0].evaluation or {}).get("intervals") if runs else None
    shown = f"{_figure(span[interval]['low'])}–{_figure(span[interval]['high'])}" if span else ""
    head = [each.name, _prevalence(results, each), cells[0], shown or NOTHING]
    return [*head, *cells[1:], _loss(means[0], best)]


def _summary_row(
    title: str,
    results: Results,
    sets: Sequence[LabelledSet],
    measure: Measure,
    names: Sequence[str],
    over: Callable[[list[float]], float],
) -> list[str]:
    """Only of those that have a figure for every set: else the sets would not be the same."""
    figures: list[float | None] = []
    for name in names:
        means = [results.mean(each.name, name, measure) for each in sets]
        known = [mean for mean in means if mean is not None]
        figures.append(over(known) if len(known) == len(sets) else None)
    best = _best(figures)
    cells = [_marked(figure, best, "") for figure in figures]
    return [f"*{title}*", "", cells[0], "", *cells[1:], _loss(figures[0], best)]


def false_alarm_table(results: Results, family: Family, names: Sequence[str]) -> str:
    """Percent of the labelled normal pixels above the shipped threshold."""
    rows = []
    for each in results.family(family):
        rates = [results.mean(each.name, name, false_alarm_rate) for name in names]
        rows.append([each.name, *(NOTHING if r is None else f"{100 * r:.2f} %" for r in rates)])
    return markdown(["set", names[0] + " (default)", *names[1:]], rows)


def mask_table(results: Results, family: Family) -> str:
    """What the default's mask does at its shipped threshold, on its first seed."""
    rows = []
    for each in results.family(family):
        runs = results.of(each.name, default_of(family.process))
        if runs and runs[0].evaluation:
            rows.append([each.name, *_mask_cells(runs[0].evaluation)])
    return markdown(_MASK_HEAD, rows)


def _mask_cells(evaluation: Any) -> list[str]:
    shipped, objects = evaluation["shipped"], evaluation["objects"]
    loose, strict = objects["any_overlap"], objects["iou_half"]
    return [
        *(_figure(shipped[key]) for key in ("precision", "recall", "f1")),
        _figure(evaluation["oracle_best_f1"]["f1"]),
        f"{loose['found']} of {objects['labelled']}",
        f"{loose['right']} of {objects['called']}",
        str(strict["found"]),
        str(strict["right"]),
    ]


def ablation_table(results: Results, process: Process) -> str:
    """AP of the default and what each variant adds to it; empty where there are no variants."""
    names = [name for name in variants_of(process) if results.ran(name)]
    if not names:
        return ""
    sets = [each for each in results.sets if each.family.process is process]
    rows, gains = [], {name: list[float]() for name in names}
    for each in sets:
        base = results.mean(each.name, default_of(process), average_precision)
        cells = []
        for name in names:
            mean = results.mean(each.name, name, average_precision)
            if base is None or mean is None:
                cells.append(NOTHING)
            else:
                gains[name].append(mean - base)
                cells.append(signed(mean - base))
        rows.append([each.name, NOTHING if base is None else _figure(base), *cells])
    means = [signed(fmean(gain)) if gain else NOTHING for gain in gains.values()]
    return markdown(["set", default_of(process), *names], [*rows, ["*mean*", "", *means]])


def seconds_table(results: Results, process: Process) -> str:
    """On one thread; what other work on the machine slows down is all but the last column."""
    rows = []
    sets = {each.name: each for each in results.sets if each.family.process is process}
    for name in detectors_of(process):
        runs = [r for r in results.records if r.detector == name and r.set in sets and r.evaluation]
        if runs:
            fits = [run.seconds["fitting"] for run in runs]
            pixels = sum(sets[run.set].pixels for run in runs)
            pace = sum(run.seconds["scoring"] for run in runs) * 1e6 / pixels
            whole = fmean(run.seconds["processor"] for run in runs)
            rows.append([name, *(f"{each:.1f}" for each in (fmean(fits), max(fits), pace, whole))])
    return markdown(_SECONDS_HEAD, rows)


def _prevalence(results: Results, each: LabelledSet) -> str:
    for record in results.records:
        if record.set == each.name and record.evaluation:
            return f"{100 * record.evaluation['prevalence']:.2g} %"
    return NOTHING


def _best(figures: Sequence[float | None]) -> float | None:
    return max((each for each in figures if each is not None), default=None)


def _marked(mean: float | None, best: float | None, spread: str) -> str:
    if mean is None or best is None:
        return NOTHING
    text = _figure(mean) + spread
    # Equal to the last digit that is shown is equal.
    return f"**{text}**" if _figure(mean) == _figure(best) else text


def _loss(default: float | None, best: float | None) -> str:
    if default is None or best is None:
        return NOTHING
    return _figure(best - default) if best - default >= _LOSS else "0"


def _spread(values: Sequence[float]) -> str:
    """Half of what the seeds differ by, where that is worth showing."""
    half = (max(values) - min(values)) / 2 if values else 0.0
    return f" ±{half:.3f}".replace("0.", ".") if half > _SEEDS_DIFFER else ""


def signed(value: float) -> str:
    return f"{value:+.3f}".replace("-0.000", "+0.000")


def _figure(value: float) -> str:
    """Three decimals without the zero before the point."""
    return f"{value:.3f}".removeprefix("0") if value < 0.9995 else "1.000"
