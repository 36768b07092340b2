"""A database of an earlier version is completed, one of a later version is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from geoanomaly.errors import ServiceError
from geoanomaly.jobs import JobStore
from geoanomaly.jobs.tables import SCHEMA, open_database
from geoanomaly.types import JobSpec, Process, Scene
from tests.services import postgres  # noqa: F401

OLDER = Path(__file__).with_name("schema_1.sql")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
def older(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database as the first version of the schema left it."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    script = OLDER.read_text()
    if request.param == "postgresql":
        url = str(request.getfixturevalue("postgres")())
        script = script.replace("seq INTEGER NOT NULL", "seq SERIAL")
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as conn:
        for statement in script.split(";\n"):
            if statement.strip():
                conn.exec_driver_sql(statement)
    engine.dispose()
    return url


def test_an_older_database_keeps_all_it_has(older: str) -> None:
    for _ in range(2):
        store = JobStore(older)
        job = store.get("a1")
        assert (job.outputs, job.tenant) == (("heatmap.tif",), "")
        assert store.get_scene("s1").bytes == 0
        assert store.create(job.spec, idempotency_key="k").id == "a1"
        new = store.on_behalf_of("alice").create(job.spec)
        assert store.claim(new.id, "w1", 30, 3) is not None
        assert store.history(new.id)
        store.close()


def test_a_new_database_has_all_that_a_completed_one_has(older: str, tmp_path: Path) -> None:
    JobStore(older).close()
    if older.startswith("postgresql"):
        pytest.skip("the same is compared on SQLite")
    fresh = f"sqlite:///{tmp_path / 'fresh.db'}"
    JobStore(fresh).close()
    assert contents(older) == contents(fresh)


def contents(url: str) -> list[tuple[str, ...]]:
    """Tables with their columns, and indexes."""
    engine = create_engine(url)
    found = inspect(engine)
    parts = [
        (table, *sorted(column["name"] for column in found.get_columns(table)))
        for table in found.get_table_names()
    ]
    parts += [
        (table, str(index["name"]))
        for table in found.get_table_names()
        for index in found.get_indexes(table)
    ]
    engine.dispose()
    return sorted(parts)


def test_a_later_database_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    engine = open_database(url)
    with engine.begin() as conn:
        conn.execute(text(f"UPDATE schema_version SET version = {SCHEMA + 1}"))
    engine.dispose()
    with pytest.raises(ServiceError, match=f"version {SCHEMA + 1} .* this program knows {SCHEMA}"):
        JobStore(url)


def test_a_copy_made_while_jobs_come_in_is_whole(tmp_path: Path) -> None:
    """`VACUUM INTO`, which docs/operations.md recommends as the backup."""
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")
    spec = JobSpec(Process.DETECT_ANOMALY, (Scene("after.tif"),))
    made = [store.create(spec).id for _ in range(20)]
    engine = create_engine(f"sqlite:///{tmp_path / 'jobs.db'}")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.exec_driver_sql(f"VACUUM INTO '{tmp_path / 'copy.db'}'")
    engine.dispose()
    later = store.create(spec).id
    store.close()
    restored = JobStore(f"sqlite:///{tmp_path / 'copy.db'}")
    assert sorted(job.id for job in restored.list()) == sorted(made)
    assert later not in {job.id for job in restored.list()}
    assert [step.target for step in restored.history(made[0])] == ["accepted"]
    restored.close()
