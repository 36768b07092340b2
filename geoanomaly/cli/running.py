"""A job in the terminal's own process: checked, priced, with progress, and resumable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import typer

from geoanomaly import __version__
from geoanomaly.cli.progress import progress_line
from geoanomaly.errors import ParameterError
from geoanomaly.remote import remote_url, upload
from geoanomaly.types import JobSpec

if TYPE_CHECKING:
    from geoanomaly.settings import Settings


def run_here(spec: JobSpec, out: Path) -> dict[str, Any]:
    """Check, price, run, with progress; a run that was stopped goes on from its finished tiles."""
    from geoanomaly.budget import set_limits
    from geoanomaly.intake.check import check
    from geoanomaly.settings import Settings

    settings = Settings()
    set_limits(settings)
    price = check(spec, settings)
    for note in price.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(
        f"{price.shape[1]:,} x {price.shape[0]:,} pixels, {_count(price.tiles, 'tile')}, "
        f"{price.sensor}",
        err=True,
    )
    from geoanomaly.pipeline import run  # torch

    name = f".work-{_digest(spec, settings)}"
    with (
        _local(out) as local,
        _work_folder(local, local / name, settings) as scratch,
        progress_line() as report,
    ):
        result = run(spec, out=local, scratch=scratch, settings=settings, report=report)
        return dict(result.summary)


@contextmanager
def _local(out: Path) -> Iterator[Path]:
    """A folder here for one that may be in an object store, to which its files go at the end."""
    url = remote_url(out)
    if url is None:
        yield out
        return
    with TemporaryDirectory(prefix="geoanomaly-") as folder:
        yield Path(folder) / "out"
        upload(Path(folder) / "out", url)


@contextmanager
def _work_folder(out: Path, folder: Path, settings: Settings) -> Iterator[Path]:
    """`folder` in `out`, removed at the end unless Ctrl-C left work in it to go on from."""
    made = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(f"{out} cannot be made: {error.strerror}.", field="out") from None
    try:
        yield folder
    except KeyboardInterrupt:
        if folder.exists():
            rest = "the same command goes on where it stopped"
        else:
            rest = "nothing was written"
            _remove_if_empty(out, made)
        typer.echo(f"\nstopped: {rest}", err=True)
        raise typer.Exit(130) from None
    except BaseException:
        _clear(folder, settings)
        _remove_if_empty(out, made)
        raise
    _clear(folder, settings)


def _clear(folder: Path, settings: Settings) -> None:
    from geoanomaly import unfinished  # settings, which are slow to import

    try:
        unfinished.clear(folder, settings)
    except OSError as error:  # is not what the user waits for
        typer.echo(f"note: {error}", err=True)


def _remove_if_empty(out: Path, made: bool) -> None:
    if made and not any(out.iterdir()):
        out.rmdir()


def _digest(spec: JobSpec, settings: Settings) -> str:
    """Tells requests apart: whatever unfinished tiles of another run would be wrong for."""
    from geoanomaly.models import read_card

    scenes = (*spec.scenes, *spec.history)
    masks = [scene.mask for scene in scenes if scene.mask is not None]
    files = [Path(scene.href) for scene in (*scenes, *masks)]
    stamps = [(path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.exists()]
    # A model of the same name may have been trained anew since.
    model = read_card(settings.models_dir, spec.model).digest if spec.model else None
    facts = [__version__, spec.to_json(), stamps, model, settings.tile_size]
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
