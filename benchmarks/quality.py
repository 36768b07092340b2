"""`make quality`: every detector on every labelled set, through the real pipeline.

Writes docs/quality.md, docs/images/quality-*.jpg, benchmarks/results/quality.json and, for
this machine only, benchmarks/results/pictures. A run that exists for the same sources and
data is used again, so that a benchmark that was stopped goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rasterio.errors import NotGeoreferencedWarning

from benchmarks import cases, pictures, report
from benchmarks.cases import CASES, Case
from benchmarks.collected import Results, default_of
from benchmarks.plan import first_round, second_round
from benchmarks.pool import work_off
from benchmarks.report import Made
from benchmarks.runs import Cache, Record, Task, code_digest, execute
from benchmarks.sets import KNOWN, Family, LabelledSet, find_sets
from geoanomaly.errors import GeoanomalyError
from tiling.cog import whole_file

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DATA = "GEOANOMALY_BENCH_DATA"


@dataclass(frozen=True)
class CaseTask:
    case: Case
    folder: Path

    @property
    def name(self) -> str:
        return f"picture of {self.case.name}"


@dataclass(frozen=True)
class Drawn:
    """The picture of a case, or why there is none."""

    name: str
    picture: Path
    error: str | None = None


Outcome = Record | Drawn


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    found = find_sets(options.data)
    chosen = tuple(s for s in found if not options.sets or s.name in options.sets)
    missing = tuple(name for name in KNOWN if name not in {each.name for each in found})
    if missing:
        _say(f"not found below {options.data}, left out: {', '.join(missing)}")
    if not chosen:
        _say(f"no labelled set to run on below {options.data}")
        return 0
    warnings.simplefilter("ignore", NotGeoreferencedWarning)  # some sets are bare pixel grids
    try:
        results = _benchmark(options, chosen, missing)
    except KeyboardInterrupt:
        _say("stopped; the same command goes on from the runs that are finished")
        return 130
    for record in results.failures:
        _say(f"no result: {record.name}: {record.error}")
    return 1 if any(record.crashed for record in results.failures) else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    data = Path(os.environ.get(DATA, ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=data, help=f"folder of sets, else ${DATA}")
    parser.add_argument("--sets", nargs="+", help="only these, into results/partial")
    parser.add_argument("--detectors", nargs="+", help="only these, into results/partial")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write below this folder instead of the project")
    options = parser.parse_args(arguments)
    options.partly = bool(options.sets or options.detectors)
    options.cache = (options.out or RESULTS) / "runs"
    options.out = options.out or (RESULTS / "partial" if options.partly else ROOT)
    return options


def _benchmark(
    options: argparse.Namespace, sets: tuple[LabelledSet, ...], missing: tuple[str, ...]
) -> Results:
    cache = Cache(options.cache)
    with TemporaryDirectory(prefix="geoanomaly-quality-") as scratch:
        work = partial(_work, cache=cache, scratch=Path(scratch))
        first = first_round(sets, options.detectors)
        scenes = [] if options.partly else _case_tasks(options.data)
        done = _run([*first, *scenes], work, cache, options.processes)
        records = {each.name: each for each in done if isinstance(each, Record)}
        again = _run(second_round(first, records), work, cache, options.processes)
    everything = [each for each in (*done, *again) if isinstance(each, Record)]
    everything.sort(key=lambda each: (each.set, each.detector, each.seed))
    results = Results(sets, tuple(everything))
    if code_digest() != cache.code:
        _say("warning: the sources changed meanwhile; run it again for figures of one version")
    pictures_of = {d.name: d.picture for d in done if isinstance(d, Drawn) and not d.error}
    made = Made(datetime.now(UTC).date().isoformat(), cache.code, missing, pictures_of)
    _write(options.out, results, made, cache)
    if not options.partly:
        cache.forget_others()
    return results


def _case_tasks(data: Path) -> list[CaseTask]:
    for case in CASES:
        if not (data / case.name).is_dir():
            _say(f"not found below {data}, no picture: {case.name}")
    return [CaseTask(case, data / case.name) for case in CASES if (data / case.name).is_dir()]


def _run(
    jobs: Sequence[Task | CaseTask], work: partial[Outcome], cache: Cache, processes: int
) -> list[Outcome]:
    """The outcomes, in any order; jobs whose outcome is there already are not run."""
    before = [cache.record(j) if isinstance(j, Task) else _drawn_before(j, cache) for j in jobs]
    found = [outcome for outcome in before if outcome is not None]
    todo = [job for job, outcome in zip(jobs, before, strict=True) if outcome is None]
    if jobs:
        _say(f"{len(jobs)} runs, {len(found)} of them done before")

    def on_done(job: Task | CaseTask, outcome: Outcome, left: str) -> None:
        found.append(outcome)
        _say(f"{len(found):4d}/{len(jobs)} {job.name}: {_brief(outcome)}; about {left} left")

    if todo:
        work_off(todo, work, on_done, processes=processes)
    return found


def _work(job: Task | CaseTask, cache: Cache, scratch: Path) -> Outcome:
    """In a process of its own."""
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    return (
        execute(job, cache, scratch) if isinstance(job, Task) else _draw_case(job, cache, scratch)
    )


def _kept(job: CaseTask, cache: Cache) -> Path:
    sources = [Path(module.__file__ or "") for module in (cases, pictures)]
    return cache.picture(job.case.name, job.folder, sources)


def _drawn_before(job: CaseTask, cache: Cache) -> Drawn | None:
    picture = _kept(job, cache)
    return Drawn(job.case.name, picture) if picture.is_file() else None


def _draw_case(job: CaseTask, cache: Cache, scratch: Path) -> Drawn:
    picture = _kept(job, cache)
    picture.parent.mkdir(parents=True, exist_ok=True)
    try:
        with TemporaryDirectory(dir=scratch) as folder, whole_file(picture) as partly:
            job.case.draw(job.folder, Path(folder), partly)
    except GeoanomalyError as error:
        return Drawn(job.case.name, picture, str(error))
    return Drawn(job.case.name, picture)


def _brief(outcome: Outcome) -> str:
    if outcome.error is not None:
        return outcome.error
    if isinstance(outcome, Drawn) or outcome.evaluation is None:
        return "drawn"
    precision = outcome.evaluation["average_precision"]
    return f"AP {precision:.3f}, {outcome.seconds['all']:.0f} s"


def _write(out: Path, results: Results, made: Made, cache: Cache) -> None:
    shown = out / report.PICTURES
    shown.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        if case.name in made.cases:
            shutil.copyfile(made.cases[case.name], shown / case.file)
    for family in Family:
        _draw_family(out, family, results, cache)
    report.write_json(out / "benchmarks" / "results" / "quality.json", results, made)
    report.write_page(out / "docs" / "quality.md", results, made)
    _say(f"written: {out / 'docs' / 'quality.md'}")


def _draw_family(out: Path, family: Family, results: Results, cache: Cache) -> None:
    """The default's hits and misses: one picture a set with the scenes, one of all without."""
    above, below = [], []
    for each in results.family(family):
        heatmap = cache.heatmap(Task(each, default_of(family.process), 0, keep=True))
        if not heatmap.is_file():
            continue
        surprise = pictures.heatmap(f"{each.name}: surprise", heatmap)
        verdict = pictures.verdict("at the shipped threshold", heatmap, each.label)
        scenes = [pictures.scene(path.stem, path, each.sensor) for path in each.scenes]
        panels = [*scenes, pictures.label("label", each.label), surprise, verdict]
        pictures.draw(out / report.PICTURES / f"{each.name}.jpg", panels)
        above.append(surprise)
        below.append(verdict)
    if above:
        image = out / "docs" / "images" / report.family_picture(family)
        pictures.draw(image, [*above, *below], columns=len(above))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
