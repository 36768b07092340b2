"""docs/quality.md and quality.json from the results."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import aims, tables
from benchmarks.ablations import ABLATIONS
from benchmarks.cases import CASES
from benchmarks.collected import Results, average_precision, default_of, detectors_of, roc_auc
from benchmarks.pool import span
from benchmarks.runs import versions
from benchmarks.sets import Family
from geoanomaly import __version__
from geoanomaly.detectors import detectors_for
from geoanomaly.types import Process
from tiling.cog import whole_file

PICTURES = "benchmarks/results/pictures"
_PROCESSES = (Process.DETECT_CHANGE, Process.DETECT_ANOMALY)


@dataclass(frozen=True)
class Made:
    """When and from what.

    code: digest of the sources; missing: known sets that were not there; cases: pictures
    drawn, by name of the case.
    """

    date: str
    code: str
    missing: tuple[str, ...]
    cases: Mapping[str, Path]


def write_json(path: Path, results: Results, made: Made) -> None:
    """All figures, one run a line so that two files can be compared by eye."""
    head = {
        "made": made.date,
        "seconds": round(_seconds(results)),
        "sources_sha256": made.code,
        "machine": machine(),
        "versions": {"geoanomaly": __version__, "python": platform.python_version(), **versions()},
        "defaults": {process.value: default_of(process) for process in _PROCESSES},
        "sets": {
            each.name: {"family": each.family.key, "pixels": each.pixels, "sha256": each.digest()}
            for each in results.sets
        },
        "missing": made.missing,
        "aims": [asdict(aim) for aim in aims.aims(results)],
    }
    runs = ",\n".join(json.dumps(_rounded(asdict(record))) for record in results.records)
    whole = json.dumps(head, indent=1).removesuffix("\n}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        partial.write_text(f'{whole},\n "runs": [\n{runs}\n]\n}}\n')


def _seconds(results: Results) -> float:
    """Of all runs, one after another."""
    return sum(record.seconds["all"] for record in results.records if record.seconds)


def machine() -> dict[str, Any]:
    return {"system": platform.platform(), "processor": _processor(), "cores": os.cpu_count()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value


def write_page(path: Path, results: Results, made: Made) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        partial.write_text("\n".join(_page(results, made)))


def _page(results: Results, made: Made) -> Iterator[str]:
    yield _introduction(results, made)
    yield "## Aims\n"
    yield "Set before the work began, for the defaults.\n"
    yield aims.aims_table(results)
    for family in Family:
        if results.family(family):
            yield from _family(results, family)
    yield from _ablations(results)
    yield from _cases(made)
    yield from _cost(results)
    yield from _left_out(results, made)


def _introduction(results: Results, made: Made) -> str:
    defaults = " and ".join(f"`{default_of(p)}` for {p.value}" for p in _PROCESSES)
    return f"""# Detection quality

`make quality` wrote this page on {made.date}; do not edit it. It ran every detector on every
labelled set that it found below `GEOANOMALY_BENCH_DATA` (default `../shared/data`), through the
same pipeline that `geoanomaly detect` runs, with the defaults of every option; only the sets whose
name begins with `sar-` are given a sensor (`sar`). The defaults are {defaults}. No detector sees a
label. A folder of your own with `before.tif`, `after.tif` and `label.tif`, or with `NAME.tif` and
`NAME-label.tif` (1 anomalous, 0 normal, all else unlabelled), is picked up too. All figures are in
[quality.json](../benchmarks/results/quality.json).

How to read the tables: AP is average precision, to be read beside the share of anomalous pixels
(second column), which is what a random score reaches. Figures are means of two seeds, ± half of
their difference where it shows; a detector that the seed does not change on two sets of a family
runs once on the others. The best of each row is **bold**, the default is the first detector,
*loses by* is what it lacks to the best. The 95 % interval is of the default's first seed, from a
spatial-block bootstrap: two figures within it may well change places on other ground.

{machine()["processor"]}, {os.cpu_count()} cores, runs of one thread each: {len(results.records)} \
runs, {span(_seconds(results))} one after another; sources `{made.code[:12]}`.
"""


def _family(results: Results, family: Family) -> Iterator[str]:
    default, *others = detectors_of(family.process)
    names = [default, *(name for name in others if results.ran(name))]
    yield f"## {family.title}\n"
    if family.process is Process.DETECT_ANOMALY:
        yield "ROC-AUC:\n"
        yield tables.ranking_table(results, family, roc_auc, names, interval="roc_auc")
    yield "Average precision:\n"
    yield tables.ranking_table(
        results, family, average_precision, names, interval="average_precision"
    )
    yield "False alarms at a nominal 1 % (share of labelled normal pixels above the threshold):\n"
    yield tables.false_alarm_table(results, family, names)
    yield (
        "The default's mask at its shipped threshold, first seed. Objects of the label and "
        "polygons of the mask count as found and right where they overlap at all, in the last two "
        "columns where intersection over union is at least one half; those of fewer than 4 pixels "
        "are left out. The oracle's threshold is chosen with the label, which no user can.\n"
    )
    yield tables.mask_table(results, family)
    image = family_picture(family)
    yield f"![Surprise and hits of the default on: {family.title}](images/{image})\n"
    yield (
        "Above: surprise; below: what the mask found, missed and raised in vain. With the scenes "
        f"and the labels beside them, which may not be passed on, `make quality` puts them into "
        f"`{PICTURES}/SET.jpg`.\n"
    )


def family_picture(family: Family) -> str:
    return f"quality-{family.key}.jpg"


def _ablations(results: Results) -> Iterator[str]:
    shown = [(process, tables.ablation_table(results, process)) for process in _PROCESSES]
    if not any(table for _, table in shown):
        return
    yield "## Ablations\n"
    yield "Average precision of the default, and what changes when a part is taken away.\n"
    for process, table in shown:
        if table:
            yield f"### {process.value}\n"
            yield from (
                f"- `{each.name}`: {each.title}" for each in ABLATIONS if each.process is process
            )
            yield f"\n{table}"


def _cases(made: Made) -> Iterator[str]:
    drawn = [case for case in CASES if case.name in made.cases]
    if not drawn:
        return
    yield "## Without a table\n"
    yield (
        "Scenes that have no label, or one that is not about the rare. The pictures show imagery "
        f"that is not passed on with this project: `make quality` draws them into `{PICTURES}`.\n"
    )
    defaults = {default_of(process) for process in _PROCESSES}
    for case in drawn:
        old = case.seen is not None and case.seen not in defaults
        caveat = f" *(Written of `{case.seen}`, which is no default any more.)*" if old else ""
        yield f"**{case.title}** ([picture](../{PICTURES}/{case.file})). {case.caption}{caveat}\n"


def _cost(results: Results) -> Iterator[str]:
    yield "## What it costs\n"
    yield (
        "Seconds on one thread. Where the machine had other work, all but the last column are too "
        "long.\n"
    )
    for process in _PROCESSES:
        if any(each.family.process is process for each in results.sets):
            yield f"### {process.value}\n"
            yield "\n".join(f"- `{each.name}`: {each.title}" for each in detectors_for(process))
            yield f"\n{tables.seconds_table(results, process)}"


def _left_out(results: Results, made: Made) -> Iterator[str]:
    if made.missing:
        yield "## Not there\n"
        yield f"Sets that were not found and are left out: {', '.join(made.missing)}.\n"
    if results.failures:
        yield "## Without a result\n"
        yield from _failure_lines(results)
        yield ""


def _failure_lines(results: Results) -> Sequence[str]:
    """Each reason once, whatever the seed."""
    lines = (f"- {each.set}, `{each.detector}`: {each.error}" for each in results.failures)
    return list(dict.fromkeys(lines))
