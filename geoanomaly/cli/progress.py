"""Progress on a terminal: one line that moves, or one line a stage where it goes to a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from geoanomaly.types import Progress, Report


@contextmanager
def progress_line() -> Iterator[Report]:
    """A `Report` that shows progress on stderr."""
    if sys.stderr.isatty():
        with _moving_line() as report:
            yield report
    else:
        yield _line_a_stage()


@contextmanager
def _moving_line() -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.fields[stage]:>12}"),
        BarColumn(bar_width=28),
        TaskProgressColumn(),
        TextColumn("{task.description}"),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=100, stage="")

        def report(progress: Progress) -> None:
            bar.update(
                task,
                completed=progress.percent,
                stage=progress.stage,
                description=progress.message,
            )

        yield report


def _line_a_stage() -> Report:
    seen: set[str] = set()

    def report(progress: Progress) -> None:
        if progress.stage not in seen:
            seen.add(progress.stage)
            line = ": ".join(filter(None, (progress.stage, progress.message)))
            print(f"{progress.percent:3.0f} % {line}", file=sys.stderr, flush=True)

    return report
