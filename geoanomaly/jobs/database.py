"""One database for everything that processes share: short transactions, errors in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock

from sqlalchemy import Connection
from sqlalchemy.exc import InterfaceError, OperationalError

from geoanomaly.errors import ServiceError
from geoanomaly.jobs.tables import open_database


class Database:
    """Threads may share one; processes open their own."""

    def __init__(self, url: str) -> None:
        with _plain_errors():
            self._engine = open_database(url)
        self._writer = self._engine.execution_options(immediate=True)
        # SQLite lets waiting writers sleep and try again, the unlucky ones for seconds. Those of
        # this process can queue instead.
        alone = self._engine.dialect.name == "sqlite"
        self._turn: AbstractContextManager[object] = Lock() if alone else nullcontext()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with _plain_errors(), self._engine.begin() as conn:
            yield conn

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Alone: nobody else writes until the block ends."""
        with self._turn, _plain_errors(), self._writer.begin() as conn:
            yield conn

    def close(self) -> None:
        self._engine.dispose()


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise ServiceError(
            f"The job database did not answer: {error.orig}. Check that "
            "GEOANOMALY_DATABASE_URL (or the data folder) is right, reachable and writable."
        ) from error
