"""Which runs are worth their time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.collected import default_of, detectors_of, variants_of
from benchmarks.runs import Record, Task
from benchmarks.sets import Family, LabelledSet

_PROBES = 2
_SAME = 5e-4


def first_round(sets: Sequence[LabelledSet], only: Sequence[str] | None = None) -> list[Task]:
    """Everything once; with a second seed the defaults, and all on the smallest sets.

    Variants of a default run once: they are compared with it at the same seed.

    only: names of detectors; None = all.
    """
    tasks = []
    probes = {each.name for family in Family for each in _smallest(sets, family)}
    for each in sets:
        process = each.family.process
        for name in (*detectors_of(process), *variants_of(process)):
            if only and name not in only:
                continue
            default = name == default_of(process)
            tasks.append(Task(each, name, 0, keep=default))
            if default or (each.name in probes and name not in variants_of(process)):
                tasks.append(Task(each, name, 1))
    return tasks


def second_round(first: Sequence[Task], records: Mapping[str, Record]) -> list[Task]:
    """The second seed of the rest, for those whose figures it changed on the smallest sets.

    records: of the first round, by the name of the task.
    """
    moved = {
        (task.set.family, task.detector)
        for task in first
        if task.seed == 1 and _differ(records[_seeded(task, 0).name], records[task.name])
    }
    return [
        second
        for second in (_seeded(task, 1) for task in first if task.seed == 0)
        if second.name not in records and (second.set.family, second.detector) in moved
    ]


def _smallest(sets: Sequence[LabelledSet], family: Family) -> list[LabelledSet]:
    members = [each for each in sets if each.family is family]
    return sorted(members, key=lambda each: each.pixels)[:_PROBES]


def _seeded(task: Task, seed: int) -> Task:
    return Task(task.set, task.detector, seed)


def _differ(one: Record, other: Record) -> bool:
    if len(one.figures) != len(other.figures):
        return True
    return any(abs(a - b) > _SAME for a, b in zip(one.figures, other.figures, strict=True))
