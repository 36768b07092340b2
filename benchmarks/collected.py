"""The records of a benchmark, asked by set and detector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from benchmarks import ablations
from benchmarks.runs import Record
from benchmarks.sets import Family, LabelledSet
from geoanomaly.detectors import detectors_for
from geoanomaly.scenes.timeline import HISTORY
from geoanomaly.types import Process

Measure = Callable[[Mapping[str, Any]], float]
"""Takes what `Evaluation.to_dict` gives."""


def average_precision(evaluation: Mapping[str, Any]) -> float:
    return float(evaluation["average_precision"])


def roc_auc(evaluation: Mapping[str, Any]) -> float:
    return float(evaluation["roc_auc"])


def false_alarm_rate(evaluation: Mapping[str, Any]) -> float:
    return float(evaluation["shipped"]["false_alarm_rate"])


def default_of(process: Process) -> str:
    return detectors_for(process)[0].name


def detectors_of(process: Process) -> list[str]:
    """Names, the default first; without the one that needs more scenes than the sets have."""
    return [entry.name for entry in detectors_for(process) if entry.name != HISTORY]


def variants_of(process: Process) -> list[str]:
    return [each.name for each in ablations.ABLATIONS if each.process is process]


@dataclass(frozen=True)
class Results:
    """sets: those that were there; records: at most one for a set, a detector and a seed."""

    sets: tuple[LabelledSet, ...]
    records: tuple[Record, ...]

    def family(self, family: Family) -> list[LabelledSet]:
        return [each for each in self.sets if each.family is family]

    def ran(self, name: str) -> bool:
        return any(record.detector == name for record in self.records)

    def of(self, name: str, detector: str) -> list[Record]:
        """The runs of a detector on a set that gave a heatmap, by seed."""
        found = (each for each in self.records if (each.set, each.detector) == (name, detector))
        return sorted((each for each in found if each.evaluation), key=lambda each: each.seed)

    def values(self, name: str, detector: str, measure: Measure) -> list[float]:
        """One a seed."""
        return [measure(each.evaluation) for each in self.of(name, detector) if each.evaluation]

    def mean(self, name: str, detector: str, measure: Measure) -> float | None:
        """Over the seeds; None where there is no heatmap."""
        values = self.values(name, detector, measure)
        return fmean(values) if values else None

    @property
    def failures(self) -> list[Record]:
        return [record for record in self.records if record.error is not None]
