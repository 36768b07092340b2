"""Several heatmaps of one label in one table, all judged on the same pixels and blocks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoanomaly.errors import SceneError
from geoanomaly.evaluation import label_files
from geoanomaly.evaluation.bootstrap import Interval, interval
from geoanomaly.evaluation.evaluate import Evaluation, evaluate
from geoanomaly.evaluation.label_files import HeatmapFile
from geoanomaly.evaluation.objects import MIN_OBJECT

Measure = Callable[[Evaluation], float | None]

# Largest is best in every column.
_COLUMNS: Mapping[str, Measure] = {
    "AP": lambda each: each.average_precision,
    "AUC": lambda each: each.roc_auc,
    "rec@1%": lambda each: each.recall_at_1pct_false_alarms,
    "rec@5%": lambda each: each.recall_at_5pct_false_alarms,
    "F1": lambda each: each.shipped.f1 if each.shipped else None,
    "obj.prec": lambda each: each.objects.any_overlap.precision if each.objects else None,
    "obj.rec": lambda each: each.objects.any_overlap.recall if each.objects else None,
}


@dataclass(frozen=True)
class Comparison:
    """Evaluations by name, in the order given."""

    evaluations: Mapping[str, Evaluation]

    @property
    def best(self) -> str:
        """The name with the highest average precision."""
        return max(self.evaluations, key=lambda name: self.evaluations[name].average_precision)

    def behind_best(self, name: str) -> Interval | None:
        """By how much its average precision differs from the best one's, draw by draw.

        An interval that holds 0 says that the labels do not tell the two apart. Both were
        measured on the same draws of blocks, so this is sharper than two intervals are.
        """
        best, other = (self.evaluations[each].resampled for each in (self.best, name))
        if best is None or other is None:
            return None
        return interval(other.average_precision - best.average_precision)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        behind = {name: self.behind_best(name) for name in self.evaluations if name != self.best}
        return {
            "best": self.best,
            "heatmaps": {name: each.to_dict() for name, each in self.evaluations.items()},
            "average_precision_behind_best": {
                name: None if span is None else asdict(span) for name, span in behind.items()
            },
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2)

    def as_table(self) -> str:
        """Lines for a terminal; * marks the best of each column."""
        wide = max(len("heatmap"), *map(len, self.evaluations))
        best = {column: self._highest(measure) for column, measure in _COLUMNS.items()}
        head = f"{'heatmap':{wide}s} " + "".join(f"{column:>10s}" for column in _COLUMNS)
        lines = [f"{head}  f.a.rate   AP behind *, 95 %"]
        for name, each in self.evaluations.items():
            cells = [_cell(measure(each), best[column]) for column, measure in _COLUMNS.items()]
            rate = f"{each.shipped.false_alarm_rate:10.5f}" if each.shipped else f"{'-':>10s}"
            lines.append(f"{name:{wide}s} {''.join(cells)}{rate}   {self._behind(name)}".rstrip())
        first = next(iter(self.evaluations.values()))
        lines += [
            "",
            f"prevalence {first.prevalence:.4f} on {first.n_labelled} labelled pixels that all "
            f"of them score ({first.n_no_score} more are left out)",
            "F1, objects (any overlap) and false alarms: at each one's shipped threshold",
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self._notes())])

    def _highest(self, measure: Measure) -> float | None:
        values = [measure(each) for each in self.evaluations.values()]
        return max((value for value in values if value is not None), default=None)

    def _behind(self, name: str) -> str:
        span = None if name == self.best else self.behind_best(name)
        return "" if span is None else f"[{span.low:+.4f}, {span.high:+.4f}]"

    def _notes(self) -> list[str]:
        """Each once, however many heatmaps it is of."""
        return list(
            dict.fromkeys(note for each in self.evaluations.values() for note in each.notes)
        )


def _cell(value: float | None, best: float | None) -> str:
    text = "-" if value is None else f"{value:.4f}{'*' if value == best else ' '}"
    return f"{text:>10s}"


def compare_files(
    heatmaps: Sequence[Path],
    label: Path,
    *,
    threshold: float | None = None,
    min_object: int = MIN_OBJECT,
    block: int | None = None,
) -> Comparison:
    """Judge heatmaps on one grid by the pixels that all of them score; see `evaluate_files`.

    Raises SceneError with field "heatmap", "compare" or "label".
    """
    paths = list(dict.fromkeys(heatmaps))
    first = label_files.read_heatmap(paths[0])
    files = [first, *(_same_grid(path, paths[0], first) for path in paths[1:])]
    labels = label_files.read_labels(label, first)
    unscored = np.logical_or.reduce([np.isnan(file.values) for file in files])
    evaluations = {}
    for name, path, file in zip(short_names(paths), paths, files, strict=True):
        file.values[unscored] = np.nan
        limit, source = label_files.published_threshold(path)
        evaluations[name] = evaluate(
            file.values,
            labels.values,
            threshold=limit if threshold is None else threshold,
            min_object=min_object,
            block=block,
            notes=labels.notes if threshold is not None else (*labels.notes, source),
        )
    return Comparison(evaluations)


def _same_grid(path: Path, first_path: Path, first: HeatmapFile) -> HeatmapFile:
    file = label_files.read_heatmap(path, field="compare")
    same = file.values.shape == first.values.shape and (
        file.crs is None
        or first.crs is None
        or (file.crs == first.crs and file.transform.almost_equals(first.transform, 1e-6))
    )
    if not same:
        raise SceneError(
            f"{path} and {first_path} are not on the same grid; only heatmaps of the same "
            "scene and area can be compared.",
            field="compare",
        )
    return file


def short_names(paths: Sequence[Path]) -> list[str]:
    """What tells the paths apart: without the parts that all of them begin and end with."""
    parts = [path.parts for path in paths]
    shared_start = _shared(parts)
    parts = [each[shared_start:] for each in parts]
    shared_end = _shared([each[::-1] for each in parts])
    names = ["/".join(each[: len(each) - shared_end]) for each in parts]
    return names if all(names) and len(paths) > 1 else [str(path) for path in paths]


def _shared(parts: Sequence[Sequence[str]]) -> int:
    """How many first entries are alike in all."""
    count = 0
    for entries in zip(*parts, strict=False):
        if len(set(entries)) > 1:
            break
        count += 1
    return count
