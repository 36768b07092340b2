"""`geoanomaly keys`: who may use a service that others can reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geoanomaly.access.keys import Role

if TYPE_CHECKING:
    from geoanomaly.access.store import KeyStore

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", metavar="DIR", help="As `serve` was given it.")
]

app = typer.Typer(
    name="keys",
    help="Make, list and revoke the API keys of a service.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def create(
    owner: Annotated[str, typer.Argument(metavar="OWNER", help="Whose jobs and scenes it opens.")],
    role: Annotated[
        Role, typer.Option(help="read; submit also uploads and starts jobs; admin sees all owners.")
    ] = Role.SUBMIT,
    note: Annotated[str, typer.Option(metavar="TEXT", help="What it is for.")] = "",
    data_dir: DataDir = None,
) -> None:
    """Make a key and print it, this one time."""
    with _keys(data_dir) as keys:
        made = keys.create(owner, role, note)
    typer.echo(made.token)
    typer.echo(
        f"Key {made.id} of {owner}, role {role.value}. It cannot be shown again. "
        "Put it into GEOANOMALY_API_KEY.",
        err=True,
    )


@app.command("list")
def list_(data_dir: DataDir = None) -> None:
    """Print a line for each key, oldest first."""
    with _keys(data_dir) as keys:
        for key in keys.list():
            state = f"revoked {key.revoked:%Y-%m-%d}" if key.revoked else "good"
            typer.echo(
                f"{key.id}  {key.tenant:<16} {key.role.value:<7} {key.created:%Y-%m-%d}  "
                f"{state:<19} {key.note}".rstrip()
            )


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `keys list` has it.")],
    data_dir: DataDir = None,
) -> None:
    """End a key, and all that was signed in with it, at once."""
    with _keys(data_dir) as keys:
        keys.revoke(key_id)
    typer.echo(f"revoked {key_id}")


@contextmanager
def _keys(data_dir: Path | None) -> Iterator[KeyStore]:
    from geoanomaly.access.store import KeyStore
    from geoanomaly.jobs.database import Database
    from geoanomaly.settings import Settings

    settings = Settings(data_dir=data_dir) if data_dir else Settings()
    database = Database(settings.database)
    try:
        yield KeyStore(database)
    finally:
        database.close()
