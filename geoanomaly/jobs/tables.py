"""The schema, and how a database is opened so that many processes can share it.

Times are seconds since the epoch as doubles: both databases compare them alike,
and a lease needs no more.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Engine,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.schema import CreateColumn

from geoanomaly.errors import ServiceError

BUSY_SECONDS = 30.0
SCHEMA_LOCK = 0x67656F61  # "geoa": any fixed number, the same in every process

# Grows with every change of the tables below; see `bring_up_to_date`.
SCHEMA = 2

metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    # Orders jobs of the same instant; the public name is `id`.
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("idempotency_key", String(255), unique=True),
    Column("process", String(32), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("status", String(16), nullable=False),
    Column("stage", String(64), nullable=False),
    Column("percent", Double, nullable=False),
    Column("message", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("started", Double),
    Column("finished", Double),
    Column("attempt", Integer, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("outputs", JSON, nullable=False),
    Column("owner", String(255)),
    Column("fence", Integer, nullable=False),
    Column("lease_until", Double),
    # When the broker was last asked to deliver the job.
    Column("rung", Double, nullable=False),
    # Whose job it is; `owner` is the worker that holds its lease. "" where nobody needs a key.
    Column("tenant", String(64), nullable=False, server_default=""),
    # Its price, and the size of what it published: what quotas and metrics count.
    Column("pixels", BigInteger, nullable=False, server_default="0"),
    Column("tiles", Integer, nullable=False, server_default="0"),
    Column("bytes", BigInteger, nullable=False, server_default="0"),
    Index("jobs_by_status", "status", "seq"),
    Index("jobs_by_tenant", "tenant", "seq"),
    # What quotas count with every submission, from the index alone.
    Index("jobs_of_tenant_by_status", "tenant", "status"),
    Index("jobs_of_tenant_by_age", "tenant", "created", "pixels"),
    Index(
        "jobs_of_tenant_with_files", "tenant", "bytes",
        sqlite_where=text("bytes > 0"), postgresql_where=text("bytes > 0"),
    ),
)  # fmt: skip

transitions = Table(
    "transitions",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("job_id", String(64), ForeignKey("jobs.id"), nullable=False, index=True),
    Column("at", Double, nullable=False),
    Column("source", String(16)),
    Column("target", String(16), nullable=False),
    Column("fence", Integer, nullable=False),
    Column("note", Text, nullable=False),
)

# What a job said of itself on its way: one line for each new thing, none for mere counting.
remarks = Table(
    "remarks",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("job_id", String(64), ForeignKey("jobs.id"), nullable=False, index=True),
    Column("at", Double, nullable=False),
    Column("stage", String(64), nullable=False),
    Column("text", Text, nullable=False),
)

scenes = Table(
    "scenes",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("path", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("sensor", String(64)),
    Column("date", String(32)),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("bands", JSON, nullable=False),
    Column("dtype", String(32), nullable=False),
    Column("crs", Text),
    Column("footprint", JSON(none_as_null=True)),
    Column("sha256", String(64), nullable=False),
    Column("created", Double, nullable=False),
    Column("tenant", String(64), nullable=False, server_default=""),
    Column("bytes", BigInteger, nullable=False, server_default="0"),
    Index("scenes_by_tenant", "tenant", "created"),
    Index("scenes_of_tenant_by_size", "tenant", "bytes"),
)

judgements = Table(
    "judgements",
    metadata,
    Column("job_id", String(64), ForeignKey("jobs.id"), primary_key=True),
    # The highest pixel of the anomaly, on the heatmap's grid: it outlives another threshold.
    Column("row", Integer, primary_key=True, autoincrement=False),
    Column("col", Integer, primary_key=True, autoincrement=False),
    Column("verdict", String(16), nullable=False),
    Column("note", Text, nullable=False),
    Column("at", Double, nullable=False),
)

# Who may ask. The key itself is nowhere: its SHA-256 is enough to know it again.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("note", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("revoked", Double),
)

# Who is signed in to the pages, by the SHA-256 of the cookie.
sessions = Table(
    "sessions",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("key_id", String(16), ForeignKey("api_keys.id"), nullable=False),
    Column("expires", Double, nullable=False),
)

# What processes count together, such as refusals of the sandbox by their reason.
counters = Table(
    "counters",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("label", String(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True))


def open_database(address: str) -> Engine:
    """An engine with every table in place; safe when several processes start at once."""
    url = _with_driver(make_url(address))
    engine = _open_sqlite(url) if url.get_backend_name() == "sqlite" else _open_server(url)
    try:
        with engine.execution_options(immediate=True).begin() as conn:
            if conn.dialect.name == "postgresql":
                # CREATE TABLE IF NOT EXISTS still collides in PostgreSQL's own catalogue.
                conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SCHEMA_LOCK})
            bring_up_to_date(conn)
    except BaseException:
        engine.dispose()
        raise
    return engine


def bring_up_to_date(conn: Connection) -> None:
    """Add what a database of an earlier version lacks; ServiceError for one of a later version.

    New columns have a default, so nothing that is there has to be rewritten.
    """
    found = inspect(conn)
    before = {name: found.get_columns(name) for name in found.get_table_names()}
    version = conn.scalar(select(schema_version.c.version)) if "schema_version" in before else None
    if version is not None and version > SCHEMA:
        raise ServiceError(
            f"The job database has version {version} of the schema, this program knows {SCHEMA}: "
            "a newer geoanomaly has opened it. Install that version, or restore the backup that "
            "was made before its first start."
        )
    metadata.create_all(conn)
    for table in metadata.sorted_tables:
        if table.name in before:
            _complete(conn, table, {column["name"] for column in before[table.name]})
    if version != SCHEMA:
        conn.execute(schema_version.delete())
        conn.execute(insert(schema_version).values(version=SCHEMA))


def _complete(conn: Connection, table: Table, columns: set[str]) -> None:
    for column in table.columns:
        if column.name not in columns:
            definition = CreateColumn(column).compile(dialect=conn.dialect)
            conn.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {definition}")
    for index in table.indexes:
        index.create(conn, checkfirst=True)


def _with_driver(url: URL) -> URL:
    """`postgresql://` means psycopg 3, which is what the `postgres` extra installs."""
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _open_server(url: URL) -> Engine:
    # pre_ping: after a restart of the database the pool holds dead connections.
    return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 5})


def _open_sqlite(url: URL) -> Engine:
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # The driver must not begin transactions by itself: its BEGIN is the deferred one.
    connection.isolation_level = None
    cursor = connection.cursor()
    _enter_wal(cursor)
    # FULL: an accepted job survives a power cut, not only a crash of the process.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _enter_wal(cursor: Any) -> None:
    """Readers and the writer stop blocking each other. Kept in the file: only the first one writes.

    The switch ignores the busy timeout when processes race for it, so it is tried again here.
    """
    give_up = time.monotonic() + BUSY_SECONDS
    while cursor.execute("PRAGMA journal_mode").fetchone()[0] not in ("wal", "memory"):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except Exception:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.02)


def _begin_sqlite(conn: Connection) -> None:
    # A write lock taken at BEGIN waits its turn; a deferred one, upgraded after a
    # read, fails at once when another process wrote in between.
    immediate = conn.get_execution_options().get("immediate", False)
    conn.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
