"""Models and migrations describe the same schema, and a schema that the code doesn't know is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import peewee
import pytest
from playhouse.migrations import Runner

from shared.database import is_sqlite
from shared.errors import SchemaMismatch
from shared.models import MODELS
from shared.schema import MIGRATIONS, migrate, require_current
from tests.databases import opened

HISTORY = "schema_migration"  # the runner's own table, which no model describes

_SQLITE_SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE tbl_name <> 'schema_migration'"
_POSTGRES_SCHEMA = {
    "columns": """
        SELECT table_name, ordinal_position, column_name, data_type, character_maximum_length, is_nullable, column_default
        FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'schema_migration'""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid)
        FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'schema_migration'""",
    "indexes": """
        SELECT tablename, indexname, indexdef
        FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'schema_migration'""",
}

Schema = dict[str, list[tuple[Any, ...]]]


def schema_of(target: peewee.Database) -> Schema:
    """Everything but rows that the database knows of its tables."""
    queries = {"objects": _SQLITE_SCHEMA} if is_sqlite(target) else _POSTGRES_SCHEMA
    return {what: sorted(target.execute_sql(query).fetchall(), key=repr) for what, query in queries.items()}


def names_of(schema: Schema) -> set[str]:
    """Tables and indexes by name, to see that a comparison compared something."""
    return {str(value) for rows in schema.values() for row in rows for value in row[:3]}


def applied(target: peewee.Database) -> list[str]:
    return sorted(name for (name,) in target.execute_sql(f"SELECT name FROM {HISTORY}").fetchall())


FILES = sorted(path.stem for path in MIGRATIONS.glob("[0-9]*.py"))


@pytest.mark.parametrize(
    ("any_database_url", "empty_database_url"), [("sqlite", "sqlite"), ("postgresql", "postgresql")], indirect=True
)
def test_migrations_make_what_the_models_describe(any_database_url: str, empty_database_url: str) -> None:
    with opened(any_database_url) as migrated, opened(empty_database_url) as created:
        with created.bind_ctx(MODELS):
            created.create_tables(MODELS)
        from_models = schema_of(created)
        assert schema_of(migrated) == from_models
        assert names_of(from_models) >= {model._meta.table_name for model in MODELS}


def test_a_second_migration_changes_nothing(empty_database_url: str) -> None:
    with opened(empty_database_url) as target:
        assert migrate(target) == FILES
        schema = schema_of(target)
        assert migrate(target) == []
        assert schema_of(target) == schema
        assert applied(target) == FILES


def test_migrations_can_be_undone_and_done_again(any_database_url: str) -> None:
    with opened(any_database_url) as target:
        schema = schema_of(target)
        Runner(target, str(MIGRATIONS)).down(FILES[0])
        assert not any(schema_of(target).values())
        assert migrate(target) == FILES
        assert schema_of(target) == schema


def test_the_current_schema_is_accepted(any_database_url: str) -> None:
    with opened(any_database_url) as target:
        require_current(target)


def test_a_pending_migration_is_refused_with_the_command_that_helps(empty_database_url: str) -> None:
    with opened(empty_database_url) as target, pytest.raises(SchemaMismatch, match=f"{FILES[0]}.*yout migrate"):
        require_current(target)


def test_a_migration_that_this_code_lacks_is_refused(any_database_url: str) -> None:
    with opened(any_database_url) as target:
        target.execute_sql(f"INSERT INTO {HISTORY} (name, applied) VALUES ('9999_invent_future', CURRENT_TIMESTAMP)")
        with pytest.raises(SchemaMismatch, match="9999_invent_future"):
            require_current(target)


@pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)
def test_releases_that_migrate_at_once_migrate_once(empty_database_url: str) -> None:
    results = run_at_once(4, lambda: migrate_alone(empty_database_url))
    assert sorted(results) == [[], [], [], FILES]
    with opened(empty_database_url) as target:
        require_current(target)
        assert applied(target) == FILES


def migrate_alone(url: str) -> list[str]:
    with opened(url) as target:
        return migrate(target)


def run_at_once(number: int, act: Callable[[], list[str]]) -> list[list[str]]:
    """The results of `act` in `number` threads that start together."""
    start = threading.Barrier(number)
    results: list[list[str]] = []

    def run() -> None:
        start.wait()
        results.append(act())

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
