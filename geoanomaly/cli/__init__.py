"""The command line. What is slow to import is imported inside the commands that need it."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from geoanomaly import __version__
from geoanomaly.cli import keys, local, service
from geoanomaly.errors import GeoanomalyError, InputError, NotFoundError, UnknownModelError

app = typer.Typer(
    name="geoanomaly",
    help="Find what is unusual on the ground, or what changed that should not have.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich alone costs 0.2 s of every --help
)
_COMMANDS: tuple[Callable[..., None], ...] = (
    local.detect,
    local.train,
    local.evaluate,
    local.models,
    local.doctor,
    service.serve,
    service.worker,
    service.submit,
    service.status,
    service.cancel,
    service.download,
    service.demo,
)
for _command in _COMMANDS:
    app.command()(_command)
app.add_typer(keys.app)


@app.callback(invoke_without_command=True)
def _version(
    version: bool = typer.Option(False, "--version", help="Print the version and end."),
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run a command; what goes wrong is one line on stderr and an exit code (2 = your input)."""
    try:
        app(prog_name="geoanomaly")
    except GeoanomalyError as error:
        typer.echo(f"error: {_field(error)}{error}", err=True)
        sys.exit(2 if isinstance(error, InputError | NotFoundError) else 1)
    except OSError as error:
        # A full disk, a folder that is not ours: no traceback tells more than this line.
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


def _field(error: GeoanomalyError) -> str:
    if isinstance(error, UnknownModelError):
        return "model: "
    return f"{error.field}: " if isinstance(error, InputError) else ""
