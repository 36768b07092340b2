"""What was promised before the work began, beside what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean

from benchmarks.collected import (
    Measure,
    Results,
    average_precision,
    default_of,
    false_alarm_rate,
    roc_auc,
)
from benchmarks.sets import Family
from benchmarks.tables import markdown, signed
from geoanomaly.types import Process

CHANGE = Process.DETECT_CHANGE
LINEAR = ("irmad", "rwr")

_AVERAGE_PRECISION: Mapping[str, float] = {
    "landsat-taizhou": 0.995,
    "gbf-bastrop-fire": 0.92,
    "oscd-dubai-rgb": 0.58,
    "inlpg-beijing-a": 0.90,
    "inlpg-shuguang": 0.80,
    "sar-bern": 0.945,
    "sar-ottawa-flood": 0.985,
}
_FALSE_ALARMS = ("landsat-taizhou", "gbf-bastrop-fire")
_FITTING_SECONDS = 60


@dataclass(frozen=True)
class Aim:
    text: str
    figure: str
    reached: bool


def aims(results: Results) -> list[Aim]:
    """Those that the sets that were there can tell of."""
    return [
        *_of_sets(results),
        *_against_linear(results),
        *_of_hyperspectral(results),
        *_of_false_alarms(results),
        *_of_fitting(results),
    ]


def aims_table(results: Results) -> str:
    rows = [[aim.text, aim.figure, "yes" if aim.reached else "**no**"] for aim in aims(results)]
    return markdown(["aim", "figure", "reached"], rows)


def _default(results: Results, name: str, measure: Measure, process: Process) -> float | None:
    return results.mean(name, default_of(process), measure)


def _of_sets(results: Results) -> Iterator[Aim]:
    for name, least in _AVERAGE_PRECISION.items():
        value = _default(results, name, average_precision, CHANGE)
        if value is not None:
            yield Aim(f"AP of {name} ≥ {least:g}", f"{value:.3f}", value >= least)


def _against_linear(results: Results) -> Iterator[Aim]:
    """Against the better of IR-MAD and RWR on each set."""
    margins = {}
    for each in (*results.family(Family.CHANGE), *results.family(Family.SAR_CHANGE)):
        ours = _default(results, each.name, average_precision, CHANGE)
        theirs = [results.mean(each.name, name, average_precision) for name in LINEAR]
        known = [value for value in theirs if value is not None]
        if ours is not None and known:
            margins[each.name] = ours - max(known)
    if margins:
        mean, worst = fmean(margins.values()), min(margins, key=lambda name: margins[name])
        better = "the better of IR-MAD and RWR"
        yield Aim(f"mean AP ≥ .03 above {better}", signed(mean), mean >= 0.03)
        figure = f"{signed(margins[worst])} ({worst})"
        yield Aim(f"never more than .01 below {better}", figure, margins[worst] >= -0.01)


def _of_hyperspectral(results: Results) -> Iterator[Aim]:
    names = [each.name for each in results.family(Family.HYPERSPECTRAL)]
    found = [_default(results, name, roc_auc, Process.DETECT_ANOMALY) for name in names]
    values = [value for value in found if value is not None]
    if values:
        mean, worst = fmean(values), min(values)
        yield Aim("hyperspectral scenes: mean AUC ≥ .96", f"{mean:.3f}", mean >= 0.96)
        yield Aim("hyperspectral scenes: worst AUC ≥ .93", f"{worst:.3f}", worst >= 0.93)


def _of_false_alarms(results: Results) -> Iterator[Aim]:
    for name in _FALSE_ALARMS:
        rate = _default(results, name, false_alarm_rate, CHANGE)
        if rate is not None:
            text = f"false alarms on {name} at a nominal 1 % between .4 and 2 %"
            yield Aim(text, f"{100 * rate:.2f} %", 0.004 <= rate <= 0.02)


def _of_fitting(results: Results) -> Iterator[Aim]:
    defaults = {default_of(process) for process in (CHANGE, Process.DETECT_ANOMALY)}
    fits = [
        r.seconds["fitting"] for r in results.records if r.detector in defaults and r.evaluation
    ]
    if fits:
        text = f"the defaults fit within {_FITTING_SECONDS} s"
        yield Aim(text, f"{max(fits):.0f} s", max(fits) <= _FITTING_SECONDS)
